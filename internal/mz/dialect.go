package mz

import (
	"strconv"
	"strings"
)

// dialect is what differs between the two kinds of server in names and texts.
type dialect struct{ kind string }

func newDialect(kind string) dialect { return dialect{kind: kind} }

func (d dialect) postgres() bool { return d.kind == Postgres }

// settings are the start-up settings of the control connections. On Materialize the
// catalog is read on its own cluster, whatever happens to the deployment's.
func (d dialect) settings() map[string]string {
	if d.postgres() {
		return nil
	}
	return map[string]string{"cluster": "mz_catalog_server", "options": "--welcome_message=off"}
}

// schema prints a schema's name for a statement. PostgreSQL's statements cannot name
// a database: the connection stands in the right one.
func (d dialect) schema(database, name string) string {
	if d.postgres() {
		return quoteIdent(name)
	}
	return quoteIdent(database) + "." + quoteIdent(name)
}

// systemRole says whether a role, by id, is the server's own. PostgreSQL gives users'
// objects numbers from 16384 on.
func (d dialect) systemRole(id string) bool {
	if d.postgres() {
		n, err := strconv.Atoi(id)
		return err == nil && n < 16384
	}
	return !strings.HasPrefix(id, "u")
}

// versionParameter is the ParameterStatus that carries the server's version.
func (d dialect) versionParameter() string {
	if d.postgres() {
		return "server_version"
	}
	return "mz_version"
}

package sim

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// login authenticates, applies the start-up parameters and sends everything up to the first ReadyForQuery.
func (se *session) login(b *pgproto3.Backend, params map[string]string, internal bool) error {
	s := se.s
	if !internal {
		if (se.user == "mz_system" || se.user == "mz_support") && !s.o.AllowSystemLogin {
			return failf("42501", "unauthorized login to user '%s'", se.user)
		}
		if err := s.o.Auth.authenticate(se, b); err != nil {
			return err
		}
	}
	if err := s.faults.loginError(); err != nil {
		return err
	}
	if err := se.adopt(); err != nil {
		return err
	}
	bad := se.startupSettings(params)
	s.join(se)

	se.send(&pgproto3.AuthenticationOk{})
	for _, d := range varTable {
		if d.login {
			se.report(d.name)
		}
	}
	se.send(&pgproto3.BackendKeyData{ProcessID: se.id, SecretKey: se.secret[:]})
	for _, n := range bad {
		se.notice("00000", n, "")
	}
	se.greet()
	if err := se.ready(); err != nil {
		se.leave()
		return err
	}
	return nil
}

// report sends ParameterStatus with the value that counts now.
func (se *session) report(name string) {
	se.send(&pgproto3.ParameterStatus{Name: name, Value: se.vars.get(name).text})
}

// adopt finds the session's role, making it at a user's first login, and takes over the defaults.
func (se *session) adopt() error {
	s := se.s
	if s.catalog.Load().roleByName(se.user) == nil {
		err := s.changeCatalog("mz_system", func(d *draft) error {
			if d.roleByName(se.user) == nil {
				d.addRole(se.user, true, slices.Contains(s.o.Superusers, se.user))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	c := s.catalog.Load()
	r := c.roleByName(se.user)
	if r == nil {
		return failf("28000", "role %q was dropped", se.user)
	}
	se.role = r.id
	maps.Copy(se.vars.defaults, c.systemVars)
	maps.Copy(se.vars.defaults, r.vars)
	if r.super {
		se.vars.defaults["is_superuser"] = value{text: "on"}
	}
	return nil
}

// startupSettings applies the parameters in the order of their names and returns the notices about bad ones.
func (se *session) startupSettings(params map[string]string) (notices []string) {
	if se.conn != nil {
		if host, _, err := net.SplitHostPort(se.conn.RemoteAddr().String()); err == nil {
			se.clientIP = host
		}
	}
	for _, key := range slices.Sorted(maps.Keys(params)) {
		val := params[key]
		switch key {
		case "user", "mz_connection_uuid":
		case "mz_forwarded_for":
			se.clientIP = ""
			if ip := net.ParseIP(val); ip != nil {
				se.clientIP = ip.String()
			}
		case "options":
			pairs, ok := parseOptions(val)
			if !ok {
				notices = append(notices, "startup setting options not set: could not parse")
				continue
			}
			for _, p := range pairs {
				notices = se.startupSetting(notices, p.name, p.text)
			}
		default:
			notices = se.startupSetting(notices, key, val)
		}
	}
	return notices
}

func (se *session) startupSetting(notices []string, name, text string) []string {
	d := findVar(name)
	if d == nil {
		return append(notices, fmt.Sprintf("startup setting %s not set: %s", name, sqlError(errUnknownVar(name)).Message))
	}
	v, err := d.parse([]string{text}, true)
	if err != nil {
		return append(notices, fmt.Sprintf("startup setting %s not set: %s", name, sqlError(err).Message))
	}
	se.vars.session[d.name] = &v
	if se.s.behaves().resetToStartup {
		se.vars.defaults[d.name] = v
	}
	return notices
}

// parseOptions reads "--k=v", "-ck=v" and "-c k=v" separated by spaces; "\ " is a space, "\\" a backslash. Any other
// word spoils the whole.
func parseOptions(text string) (pairs []change, ok bool) {
	words := splitOptions(text)
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case word == "-c":
			if i++; i == len(words) {
				return nil, false
			}
			word = words[i]
		case strings.HasPrefix(word, "--"):
			word = word[2:]
		case strings.HasPrefix(word, "-c"):
			word = word[2:]
		default:
			return nil, false
		}
		name, val, found := strings.Cut(word, "=")
		if !found {
			return nil, false
		}
		pairs = append(pairs, change{name, val})
	}
	return pairs, true
}

func splitOptions(text string) (words []string) {
	var word strings.Builder
	started := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			if i++; i < len(text) {
				word.WriteByte(text[i])
				started = true
			}
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if started {
				words = append(words, word.String())
				word.Reset()
			}
			started = false
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words
}

// greet queues the welcome and the warnings about a database or cluster that does not exist.
func (se *session) greet() {
	c := se.s.catalog.Load()
	sc := se.scope()
	cluster := se.vars.get("cluster").text
	if se.vars.get("welcome_message").text == "on" {
		se.notice("00000", se.welcome(c, sc, cluster), "")
	}
	if se.vars.get("current_object_missing_warnings").text != "on" {
		return
	}
	if c.databaseByName(sc.database) == nil {
		se.notice("MZ004", fmt.Sprintf("session database %s does not exist", strconv.Quote(sc.database)), hintDatabase)
	}
	if c.clusterByName(cluster) == nil {
		from := "system"
		switch {
		case se.vars.session["cluster"] != nil:
			from = "session"
		case c.roles[se.role].vars["cluster"].text == cluster:
			from = "role"
		}
		se.notice("MZ005", fmt.Sprintf("%s default cluster %s does not exist", from, strconv.Quote(cluster)),
			"Pick an extant cluster with SET CLUSTER = name. Run SHOW CLUSTERS to see available clusters.")
	}
}

const (
	hintDatabase = "Create the database with CREATE DATABASE or pick an extant database with SET DATABASE = name. List available databases with SHOW DATABASES."
	hintCluster  = "Create the cluster with CREATE CLUSTER or pick an extant cluster with SET CLUSTER = name. List available clusters with SHOW CLUSTERS."
	hintSchema   = "Create a schema with CREATE SCHEMA or pick an extant schema with SET SCHEMA = name. List available schemas with SHOW SCHEMAS."
)

func (se *session) welcome(c *catalog, sc scope, cluster string) string {
	id := "Org ID: " + environmentID[len("mzcanary-local-az1-"):len(environmentID)-2]
	if se.s.behaves().environmentID {
		id = "Environment ID: " + environmentID
	}
	missing := ""
	if c.clusterByName(cluster) == nil {
		missing = " (does not exist)"
	}
	path := "Search path: " + strings.Join(sc.path, ", ")
	if len(sc.path) == 1 {
		path = "Schema: " + sc.path[0]
	}
	return "connected to Materialize " + shortVersion(se.s.version()) + "\n  " + id + "\n  Region: local/az1\n  User: " + se.user +
		"\n  Cluster: " + cluster + missing + "\n  Database: " + sc.database + "\n  " + path + "\n  Session UUID: " + se.uuid +
		"\n\nIssue a SQL query to get started. Need help?\n  View documentation: https://materialize.com/s/docs\n" +
		"  Join our Slack community: https://materialize.com/s/chat\n    "
}

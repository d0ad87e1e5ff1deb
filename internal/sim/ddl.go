package sim

import (
	"fmt"
	"strings"

	"mzcanary/internal/sim/sql"
)

// actor is who changes the catalog and from where: a session's identity and settings at one moment.
type actor struct {
	role    string // id
	scope   scope
	cluster string // the session's cluster name
	session *session
}

// ddl applies one statement to a draft: existence first, then rights, then the change, as the server's planner,
// its access check and its catalog do. The statement's own text is never re-read.
type ddl struct {
	*draft
	by      actor
	notices []notice
}

func (x *ddl) notice(code, format string, args ...any) {
	x.notices = append(x.notices, notice{severity: "NOTICE", code: code, message: fmt.Sprintf(format, args...)})
}

// transactional says whether the statement may share a DDL transaction with others.
func transactional(stmt sql.Statement) bool {
	switch stmt.(type) {
	case *sql.AlterSwap, *sql.AlterRename:
		return true
	}
	return false
}

// apply changes the draft by the statement; when it fails the draft is spoiled and must be thrown away.
func (x *ddl) apply(stmt sql.Statement) error {
	switch st := stmt.(type) {
	case *sql.AlterSwap:
		return x.alterSwap(st)
	case *sql.AlterRename:
		return x.alterRename(st)
	case *sql.AlterOwner:
		return x.alterOwner(st)
	case *sql.AlterClusterSet:
		return x.alterCluster(st)
	case *sql.AlterRole:
		return x.alterRole(st)
	case *sql.AlterRoleSet:
		return x.alterRoleSet(st)
	case *sql.AlterSystem:
		return x.alterSystem(st)
	case *sql.AlterSinkFrom:
		return x.alterSink(st)
	case *sql.CreateDatabase, *sql.CreateSchema, *sql.CreateCluster, *sql.CreateClusterReplica, *sql.CreateRole:
		return x.createContainer(stmt)
	case *sql.CreateTable:
		return x.createTable(st)
	case *sql.CreateView:
		return x.createView(st)
	case *sql.CreateMaterializedView:
		return x.createMaterializedView(st)
	case *sql.CreateIndex:
		return x.createIndex(st)
	case *sql.CreateObject:
		return x.createObject(st)
	case *sql.Drop:
		return x.drop(st)
	case *sql.Comment:
		return x.commentOn(st)
	case *sql.Grant:
		return x.grant(st)
	case *sql.GrantRole:
		return x.grantRole(st)
	case *sql.AlterDefaultPrivileges:
		return x.defaultPrivileges(st)
	}
	return refuse("%s is not supported", stmt.Tag())
}

func (x *ddl) superuser() bool { r := x.roles[x.by.role]; return r != nil && r.super }

// owned is something whose owner matters.
type owned struct{ kind, name, owner string }

func (x *ddl) mustOwn(things ...owned) error {
	if x.superuser() {
		return nil
	}
	mine := x.grantees(x.by.role)
	var missing []string
	for _, t := range things {
		if !mine[t.owner] {
			missing = append(missing, t.kind+" "+t.name)
		}
	}
	if missing == nil {
		return nil
	}
	return failf("42501", "must be owner of %s", strings.Join(missing, ", "))
}

// need checks one privilege; name is as it stands in the error.
func (x *ddl) need(list acl, p privilege, kind, name string) error {
	return x.check(x.by.role, list, p, kind, name)
}

// check is the access check of every statement.
func (c *catalog) check(roleID string, list acl, p privilege, kind, name string) error {
	r := c.roles[roleID]
	if r != nil && (r.super || list.of(c.grantees(roleID))&p == p) {
		return nil
	}
	who := ""
	if r != nil {
		who = r.name
	}
	what := strings.Join(p.names(), ", ")
	return &sql.Error{
		Code:    "42501",
		Message: fmt.Sprintf("permission denied for %s %q", kind, name),
		Detail:  fmt.Sprintf("The '%s' role needs %s privileges on %s %q", who, what, kind, name),
	}
}

// needSystem checks CREATEROLE, CREATEDB or CREATECLUSTER.
func (x *ddl) needSystem(p privilege) error {
	if x.superuser() || x.systemAcl.of(x.grantees(x.by.role))&p != 0 {
		return nil
	}
	return &sql.Error{Code: "42501", Message: "permission denied for SYSTEM",
		Detail: fmt.Sprintf("The '%s' role needs %s privileges on SYSTEM", x.roles[x.by.role].name, strings.Join(p.names(), ", "))}
}

func (x *ddl) ownedSchema(s *schema) owned   { return owned{"SCHEMA", x.schemaName(s), s.owner} }
func (x *ddl) ownedCluster(c *cluster) owned { return owned{"CLUSTER", c.name, c.owner} }
func (x *ddl) ownedObject(o *object) owned   { return owned{o.kind.words(), x.fullName(o), o.owner} }

func (x *ddl) findSchema(name sql.Name) (*schema, error) { return x.lookupSchema(x.by.scope, name) }

func (x *ddl) findCluster(name string) (*cluster, error) {
	if c := x.clusterByName(name); c != nil {
		return c, nil
	}
	return nil, failf("XX000", "unknown cluster '%s'", name)
}

func (x *ddl) findRole(name string) (*role, error) {
	if r := x.roleByName(name); r != nil {
		return r, nil
	}
	return nil, failf("XX000", "unknown role '%s'", name)
}

// findObject finds an item of the kind; an index is found in its relation's schema like any item.
func (x *ddl) findObject(kind sql.Kind, name sql.Name) (*object, error) {
	o, err := x.lookup(x.by.scope, name)
	if err != nil {
		return nil, err
	}
	want, _ := kindOf(kind)
	if o.kind != want {
		return nil, failf("XX000", "%s is a %s not a %s", sql.QuoteIdent(x.fullName(o)), strings.ToLower(o.kind.words()), strings.ToLower(string(kind)))
	}
	return o, nil
}

// skip turns a missing thing into a notice when IF EXISTS was said.
func (x *ddl) skip(err error, ifExists bool, kind sql.Kind, name string) error {
	if err == nil || !ifExists || !strings.HasPrefix(sqlError(err).Message, "unknown ") {
		return err
	}
	x.notice("42704", "%s %q does not exist, skipping", kind, name)
	return errSkipped
}

// errSkipped ends a statement that has nothing to do; apply's callers take it for success.
var errSkipped = failf("00000", "skipped")

func reservedName(name string) bool {
	return strings.HasPrefix(name, "mz_") || strings.HasPrefix(name, "pg_") || strings.HasPrefix(name, "external_")
}

func (x *ddl) alterSwap(st *sql.AlterSwap) error {
	if err := x.by.session.s.faults.maySwap(); err != nil {
		return err
	}
	if st.Kind == sql.KindCluster {
		return x.swapClusters(st)
	}
	a, err := x.findSchema(st.Name)
	if err := x.skip(err, st.IfExists, st.Kind, st.Name.Item()); err != nil {
		return err
	}
	other := append(append(sql.Name{}, st.Name[:len(st.Name)-1]...), st.With)
	b, err := x.findSchema(other)
	if err != nil {
		return err
	}
	if a.system() || b.system() || a.tempConn != 0 {
		return failf("XX000", "cannot swap schemas that are in the ambient database")
	}
	if err := x.mustOwn(x.ownedSchema(a), x.ownedSchema(b)); err != nil {
		return err
	}
	db := x.databases[a.database]
	if err := x.need(db.acl, privCreate, "DATABASE", db.name); err != nil {
		return err
	}
	x.swap(sql.KindSchema, a.id, b.id)
	return nil
}

func (x *ddl) swapClusters(st *sql.AlterSwap) error {
	a, err := x.findCluster(st.Name.Item())
	if err := x.skip(err, st.IfExists, st.Kind, st.Name.Item()); err != nil {
		return err
	}
	b, err := x.findCluster(st.With)
	if err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedCluster(a), x.ownedCluster(b)); err != nil {
		return err
	}
	for _, c := range []*cluster{a, b} {
		if c.system() {
			return failf("XX000", "system cluster '%s' cannot be modified", c.name)
		}
	}
	x.swap(sql.KindCluster, a.id, b.id)
	return nil
}

func (x *ddl) alterRename(st *sql.AlterRename) error {
	switch st.Kind {
	case sql.KindSchema:
		return x.renameSchemaTo(st)
	case sql.KindCluster:
		return x.renameClusterTo(st)
	}
	if _, ok := kindOf(st.Kind); !ok {
		return refuse("ALTER %s … RENAME is not supported", st.Kind)
	}
	o, err := x.findObject(st.Kind, st.Name)
	if err := x.skip(err, st.IfExists, st.Kind, st.Name.Item()); err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedObject(o)); err != nil {
		return err
	}
	if o.sys != nil {
		return failf("XX000", "system item '%s' cannot be modified", x.fullName(o))
	}
	s := x.schemas[o.schema]
	if err := x.need(s.acl, privCreate, "SCHEMA", x.schemaName(s)); err != nil {
		return err
	}
	if x.objectIn(o.schema, st.To) != nil {
		return failf("XX000", "catalog item '%s' already exists", st.To)
	}
	x.renameObject(o.id, st.To)
	return nil
}

func (x *ddl) renameSchemaTo(st *sql.AlterRename) error {
	s, err := x.findSchema(st.Name)
	if err := x.skip(err, st.IfExists, st.Kind, st.Name.Item()); err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedSchema(s)); err != nil {
		return err
	}
	if s.system() || s.tempConn != 0 {
		return failf("XX000", "cannot rename schemas in the ambient database")
	}
	db := x.databases[s.database]
	if err := x.need(db.acl, privCreate, "DATABASE", db.name); err != nil {
		return err
	}
	if reservedName(st.To) {
		return &sql.Error{Code: "XX000", Message: "unacceptable schema name '" + st.To + "'",
			Detail: `The prefixes "mz_" and "pg_" are reserved for system schemas.`}
	}
	if x.schemaIn(s.database, st.To) != nil {
		return failf("XX000", "schema '%s' already exists", st.To)
	}
	x.renameSchema(s.id, st.To)
	return nil
}

func (x *ddl) renameClusterTo(st *sql.AlterRename) error {
	c, err := x.findCluster(st.Name.Item())
	if err := x.skip(err, st.IfExists, st.Kind, st.Name.Item()); err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedCluster(c)); err != nil {
		return err
	}
	switch {
	case c.system():
		return failf("XX000", "system cluster '%s' cannot be modified", c.name)
	case reservedName(st.To):
		return &sql.Error{Code: "XX000", Message: fmt.Sprintf("cluster name %q is reserved", st.To),
			Detail: `The prefixes "mz_" and "pg_" are reserved for system clusters.`}
	case x.clusterByName(st.To) != nil:
		return failf("XX000", "uniqueness violation")
	}
	x.renameCluster(c.id, st.To)
	return nil
}

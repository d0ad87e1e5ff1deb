package sim

import (
	"strconv"
	"strings"

	"mzcanary/internal/sim/sql"
)

// createContainer makes what holds or runs objects, and roles.
func (x *ddl) createContainer(stmt sql.Statement) error {
	switch st := stmt.(type) {
	case *sql.CreateDatabase:
		return x.createDatabase(st)
	case *sql.CreateSchema:
		return x.createSchema(st)
	case *sql.CreateCluster:
		return x.createCluster(st)
	case *sql.CreateClusterReplica:
		return x.createReplica(st)
	case *sql.CreateRole:
		return x.createRole(st)
	}
	return refuse("%s is not supported", stmt.Tag())
}

// exists is the answer to creating something that is there: an error, or with IF NOT EXISTS a notice.
func (x *ddl) exists(ifNot bool, code, kind, name string, err error) error {
	if !ifNot {
		return err
	}
	x.notice(code, "%s %q already exists, skipping", kind, name)
	return errSkipped
}

func (x *ddl) createDatabase(st *sql.CreateDatabase) error {
	if err := x.needSystem(privCreateDB); err != nil {
		return err
	}
	if x.databaseByName(st.Name) != nil {
		return x.exists(st.IfNotExists, "42P04", "database", st.Name, failf("XX000", "database '%s' already exists", st.Name))
	}
	db := x.addDatabase(st.Name, x.by.role)
	x.addSchema(db.id, "public", x.by.role)
	return nil
}

func (x *ddl) createSchema(st *sql.CreateSchema) error {
	dbName := x.by.scope.database
	if len(st.Name) == 2 {
		dbName = st.Name[0]
	}
	db := x.databaseByName(dbName)
	if db == nil {
		return failf("XX000", "unknown database '%s'", dbName)
	}
	if err := x.need(db.acl, privCreate, "DATABASE", db.name); err != nil {
		return err
	}
	name := st.Name.Item()
	if reservedName(name) {
		return &sql.Error{Code: "XX000", Message: "unacceptable schema name '" + name + "'",
			Detail: `The prefixes "mz_" and "pg_" are reserved for system schemas.`}
	}
	if x.schemaIn(db.id, name) != nil {
		return x.exists(st.IfNotExists, "42P06", "schema", name, failf("XX000", "schema '%s' already exists", name))
	}
	x.addSchema(db.id, name, x.by.role)
	return nil
}

func (x *ddl) createCluster(st *sql.CreateCluster) error {
	if err := x.needSystem(privCreateCluster); err != nil {
		return err
	}
	if reservedName(st.Name) {
		return &sql.Error{Code: "XX000", Message: "cluster name " + strconv.Quote(st.Name) + " is reserved",
			Detail: `The prefixes "mz_" and "pg_" are reserved for system clusters.`}
	}
	if x.clusterByName(st.Name) != nil {
		return x.exists(st.IfNotExists, "42710", "cluster", st.Name, failf("XX000", "cluster '%s' already exists", st.Name))
	}
	if st.Unmanaged {
		x.addCluster(st.Name, x.by.role, "", 0, false, st.Replicas)
		return nil
	}
	if st.Size == "" {
		return failf("XX000", "SIZE option must be specified")
	}
	factor := st.ReplicationFactor
	if factor < 0 {
		factor = 1
	}
	x.addCluster(st.Name, x.by.role, st.Size, factor, true, nil)
	return nil
}

func (x *ddl) createReplica(st *sql.CreateClusterReplica) error {
	c, err := x.findCluster(st.Cluster)
	if err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedCluster(c)); err != nil {
		return err
	}
	if c.managed {
		return failf("XX000", "cannot modify managed cluster %s", c.name)
	}
	for _, r := range c.replicas {
		if r.name == st.Replica.Name {
			return failf("XX000", "cannot create multiple replicas named '%s' on cluster '%s'", r.name, c.name)
		}
	}
	own := *c
	x.addReplica(&own, st.Replica.Name, st.Replica.Size)
	x.clusters[own.id] = &own
	return nil
}

func (x *ddl) createRole(st *sql.CreateRole) error {
	if err := x.needSystem(privCreateRole); err != nil {
		return err
	}
	if reservedName(st.Name) || st.Name == "public" {
		return failf("42939", "role name %q is reserved", st.Name)
	}
	if x.roleByName(st.Name) != nil {
		return failf("XX000", "role '%s' already exists", st.Name)
	}
	super, login := false, false
	for _, o := range st.Options {
		switch o.Name {
		case "SUPERUSER":
			super = true
		case "LOGIN":
			login = true
		case "INHERIT", "NOSUPERUSER", "NOLOGIN":
		case "PASSWORD":
		default:
			return refuse("CREATE ROLE option %s is not supported", o.Name)
		}
	}
	if super && !x.superuser() {
		return failf("42501", "permission denied to create superuser role")
	}
	x.addRole(st.Name, login, super)
	return nil
}

// place finds the schema of a new object and checks that one may be made there under the name.
func (x *ddl) place(name sql.Name, temporary bool) (*schema, error) {
	switch {
	case temporary:
		return x.tempSchema(x.by.scope.conn, x.by.role), nil
	case len(name) > 1:
		s, err := x.findSchema(name[:len(name)-1])
		if err != nil {
			return nil, err
		}
		if s.system() {
			return nil, failf("42501", "system schema '%s' cannot be modified", s.name)
		}
		return s, x.need(s.acl, privCreate, "SCHEMA", x.schemaName(s))
	}
	s := x.firstSchema(x.by.scope)
	if s == nil || s.system() {
		return nil, &sql.Error{Code: "3F000", Message: "no valid schema selected"}
	}
	return s, x.need(s.acl, privCreate, "SCHEMA", x.schemaName(s))
}

// taken refuses a name that is in use; errSkipped with IF NOT EXISTS.
func (x *ddl) taken(s *schema, name string, ifNot bool) error {
	o := x.objectIn(s.id, name)
	if o == nil {
		return nil
	}
	return x.exists(ifNot, "42710", strings.ToLower(o.kind.words()), name,
		failf("XX000", "%s '%s' already exists", strings.ToLower(o.kind.words()), x.fullName(o)))
}

// onCluster finds where a dataflow goes.
func (x *ddl) onCluster(name string) (*cluster, error) {
	if name == "" {
		name = x.by.cluster
	}
	c, err := x.findCluster(name)
	if err != nil {
		return nil, err
	}
	if c.system() && !x.superuser() {
		return nil, failf("42501", "system cluster '%s' cannot be modified", c.name)
	}
	return c, x.need(c.acl, privCreate, "CLUSTER", c.name)
}

func (x *ddl) createTable(st *sql.CreateTable) error {
	s, err := x.place(st.Name, st.Temporary)
	if err != nil {
		return err
	}
	if err := x.taken(s, st.Name.Item(), st.IfNotExists); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, c := range st.Columns {
		if seen[c.Name] {
			return failf("42701", "column %q specified more than once", c.Name)
		}
		seen[c.Name] = true
	}
	x.addObject(&object{name: st.Name.Item(), schema: s.id, kind: kindTable, owner: x.by.role, columns: st.Columns})
	return nil
}

// body plans a view's query against the draft and keeps what its names mean now.
func (x *ddl) body(q *sql.Query, names []string) (*viewBody, []sql.Column, []string, error) {
	r := planner(x.catalog, x.by.scope, x.by.session)
	plan, err := q.Plan(r, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(plan.Params) > 0 {
		return nil, nil, nil, failf("42P02", "there is no parameter $1")
	}
	if err := x.mayRead(x.by.role, r.ids); err != nil {
		return nil, nil, nil, err
	}
	columns := append([]sql.Column{}, plan.Columns...)
	if len(names) > len(columns) {
		return nil, nil, nil, failf("XX000", "view definition names %d columns, but its query has only %d columns", len(names), len(columns))
	}
	for i, n := range names {
		columns[i].Name = n
	}
	seen := map[string]bool{}
	for _, c := range columns {
		if seen[c.Name] {
			return nil, nil, nil, failf("42701", "column %q specified more than once", c.Name)
		}
		seen[c.Name] = true
	}
	return &viewBody{text: q.Text(), plan: plan, names: r.names}, columns, r.ids, nil
}

// mayRead checks USAGE on the schemas and SELECT on the relations.
func (c *catalog) mayRead(roleID string, ids []string) error {
	checked := map[string]bool{}
	for _, id := range ids {
		o := c.objects[id]
		s := c.schemas[o.schema]
		if s == nil || checked[s.id] || s.tempConn != 0 {
			continue
		}
		checked[s.id] = true
		if err := c.check(roleID, s.acl, privUsage, "SCHEMA", c.schemaName(s)); err != nil {
			return err
		}
	}
	for _, id := range ids {
		o := c.objects[id]
		if err := c.check(roleID, o.acl, privSelect, o.kind.words(), c.fullName(o)); err != nil {
			return err
		}
	}
	return nil
}

// replace drops what OR REPLACE replaces.
func (x *ddl) replace(s *schema, name string, kind objectKind) error {
	o := x.objectIn(s.id, name)
	if o == nil {
		return nil
	}
	if o.kind != kind {
		return failf("XX000", "%s is a %s not a %s", sql.QuoteIdent(x.fullName(o)), strings.ToLower(o.kind.words()), strings.ToLower(kind.words()))
	}
	if err := x.mustOwn(x.ownedObject(o)); err != nil {
		return err
	}
	for id := range x.dependents(map[string]bool{o.id: true}) {
		return failf("XX000", "cannot drop %s %q: still depended upon by %s %q", strings.ToLower(o.kind.words()), o.name,
			strings.ToLower(x.objects[id].kind.words()), x.objects[id].name)
	}
	x.removeObject(o.id)
	return nil
}

func (x *ddl) createView(st *sql.CreateView) error {
	s, err := x.place(st.Name, st.Temporary)
	if err != nil {
		return err
	}
	body, columns, deps, err := x.body(st.Query, st.Columns)
	if err != nil {
		return err
	}
	if st.OrReplace {
		if err := x.replace(s, st.Name.Item(), kindView); err != nil {
			return err
		}
	}
	if err := x.taken(s, st.Name.Item(), st.IfNotExists); err != nil {
		return err
	}
	x.addObject(&object{name: st.Name.Item(), schema: s.id, kind: kindView, owner: x.by.role, columns: columns, deps: deps, view: body})
	return nil
}

func (x *ddl) createMaterializedView(st *sql.CreateMaterializedView) error {
	s, err := x.place(st.Name, false)
	if err != nil {
		return err
	}
	c, err := x.onCluster(st.Cluster)
	if err != nil {
		return err
	}
	body, columns, deps, err := x.body(st.Query, st.Columns)
	if err != nil {
		return err
	}
	if st.OrReplace {
		if err := x.replace(s, st.Name.Item(), kindMatView); err != nil {
			return err
		}
	}
	if err := x.taken(s, st.Name.Item(), st.IfNotExists); err != nil {
		return err
	}
	x.addObject(&object{name: st.Name.Item(), schema: s.id, kind: kindMatView, owner: x.by.role, cluster: c.id,
		columns: columns, deps: deps, view: body})
	return nil
}

func (x *ddl) createIndex(st *sql.CreateIndex) error {
	on, err := x.lookup(x.by.scope, st.On)
	if err != nil {
		return err
	}
	if !on.kind.relation() {
		return failf("XX000", "index cannot be created on %s because it is a %s", x.fullName(on), strings.ToLower(on.kind.words()))
	}
	if err := x.mustOwn(x.ownedObject(on)); err != nil {
		return err
	}
	c, err := x.onCluster(st.Cluster)
	if err != nil {
		return err
	}
	s := x.schemas[on.schema]
	if err := x.need(s.acl, privCreate, "SCHEMA", x.schemaName(s)); err != nil {
		return err
	}
	keys := st.Keys
	if st.Default {
		keys = make([]sql.IndexKey, len(on.columns))
		for i, col := range on.columns {
			keys[i].Column = col.Name
		}
	}
	for _, k := range keys {
		if k.Column != "" && columnIndex(on, k.Column) < 0 {
			return failf("XX000", "column %q does not exist", k.Column)
		}
	}
	name := st.Name
	if name == "" {
		name = x.indexName(on, keys, st.Default)
	}
	if err := x.taken(s, name, st.IfNotExists); err != nil {
		return err
	}
	x.addObject(&object{name: name, schema: s.id, kind: kindIndex, owner: x.by.role, cluster: c.id, deps: []string{on.id}, on: on.id, keys: keys})
	return nil
}

// indexName makes one up: answer_k_idx, or answer_primary_idx for a default index; then with a number.
func (x *ddl) indexName(on *object, keys []sql.IndexKey, isDefault bool) string {
	parts := []string{on.name}
	if isDefault {
		parts = append(parts, "primary")
	} else {
		for _, k := range keys {
			part := k.Column
			if part == "" {
				part = "expr"
			}
			parts = append(parts, part)
		}
	}
	base := strings.Join(append(parts, "idx"), "_")
	name := base
	for i := 1; x.objectIn(on.schema, name) != nil; i++ {
		name = base + strconv.Itoa(i)
	}
	return name
}

func columnIndex(o *object, name string) int {
	for i, c := range o.columns {
		if c.Name == name {
			return i
		}
	}
	return -1
}

// createObject makes what only has a name here: it can be listed, owned, granted, renamed and dropped.
func (x *ddl) createObject(st *sql.CreateObject) error {
	kind, ok := kindOf(st.Kind)
	if !ok {
		return refuse("CREATE %s is not supported", st.Kind)
	}
	s, err := x.place(st.Name, false)
	if err != nil {
		return err
	}
	o := &object{name: st.Name.Item(), schema: s.id, kind: kind, owner: x.by.role}
	if kind == kindSource || kind == kindSink {
		c, err := x.onCluster(st.Cluster)
		if err != nil {
			return err
		}
		o.cluster = c.id
	}
	if len(st.From) > 0 {
		from, err := x.lookup(x.by.scope, st.From)
		if err != nil {
			return err
		}
		o.deps, o.on = []string{from.id}, from.id
	}
	if err := x.taken(s, st.Name.Item(), st.IfNotExists); err != nil {
		return err
	}
	x.addObject(o)
	return nil
}

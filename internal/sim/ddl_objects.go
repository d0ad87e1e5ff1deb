package sim

import (
	"strconv"
	"strings"

	"mzcanary/internal/sim/sql"
)

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

// mayRead checks USAGE on the schemas and SELECT on the relations; what a view reads is checked for the view's owner.
func (c *catalog) mayRead(roleID string, ids []string) error {
	return c.mayReadAs(roleID, ids, map[readCheck]bool{})
}

type readCheck struct{ role, id string }

func (c *catalog) mayReadAs(roleID string, ids []string, seen map[readCheck]bool) error {
	for _, id := range ids {
		s := c.schemas[c.objects[id].schema]
		if s == nil || s.tempConn != 0 || s.system() || seen[readCheck{roleID, s.id}] {
			continue
		}
		seen[readCheck{roleID, s.id}] = true
		if err := c.check(roleID, s.acl, privUsage, "SCHEMA", c.schemaName(s)); err != nil {
			return err
		}
	}
	for _, id := range ids {
		o := c.objects[id]
		if seen[readCheck{roleID, id}] {
			continue
		}
		seen[readCheck{roleID, id}] = true
		if err := c.check(roleID, o.acl, privSelect, o.kind.words(), c.fullName(o)); err != nil {
			return err
		}
		if o.view != nil {
			if err := c.mayReadAs(o.owner, o.deps, seen); err != nil {
				return err
			}
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

package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mzcanary/internal/sim/sql"
)

// dropPlan collects what a DROP takes along, dependents before what they depend on.
type dropPlan struct {
	x     *ddl
	seen  map[string]bool
	order []*object
	// lines are the "drop cascades to …" of the notice, in order, the named things not included.
	lines []string
}

func (p *dropPlan) add(o *object, named bool) {
	if p.seen[o.id] {
		return
	}
	p.seen[o.id] = true
	var readers []*object
	for _, other := range p.x.objects {
		if slices.Contains(other.deps, o.id) {
			readers = append(readers, other)
		}
	}
	slices.SortFunc(readers, func(a, b *object) int { return cmpID(a.id, b.id) })
	for _, r := range readers {
		p.add(r, false)
	}
	p.order = append(p.order, o)
	if !named {
		p.line(o.kind.words(), p.x.fullName(o))
	}
}

func (p *dropPlan) line(kind, name string) {
	p.lines = append(p.lines, fmt.Sprintf("drop cascades to %s %q", kind, name))
}

// finish removes the collected objects and tells about those that were not named.
func (p *dropPlan) finish() {
	for _, o := range p.order {
		p.x.removeObject(o.id)
	}
	if n := len(p.lines); n > 0 {
		plural := "s"
		if n == 1 {
			plural = ""
		}
		p.x.notices = append(p.x.notices, notice{severity: "NOTICE", code: "00000",
			message: fmt.Sprintf("drop cascades to %d other object%s", n, plural), detail: strings.Join(p.lines, "\n")})
	}
}

func (x *ddl) drop(st *sql.Drop) error {
	p := &dropPlan{x: x, seen: map[string]bool{}}
	skipped := 0
	var after []func()
	for _, name := range st.Names {
		then, err := x.dropOne(p, st, name)
		if err == errSkipped {
			skipped++
			continue
		}
		if err != nil {
			return err
		}
		if then != nil {
			after = append(after, then)
		}
	}
	p.finish()
	for _, then := range after {
		then()
	}
	if skipped == len(st.Names) {
		return errSkipped
	}
	return nil
}

// dropOne adds one named thing to the plan; then removes the container itself after its contents.
func (x *ddl) dropOne(p *dropPlan, st *sql.Drop, name sql.Name) (then func(), err error) {
	switch st.Kind {
	case sql.KindSchema:
		return x.dropSchema(p, st, name)
	case sql.KindCluster:
		return x.dropCluster(p, st, name)
	case sql.KindClusterReplica:
		return nil, x.dropReplica(st, name)
	case sql.KindRole:
		return nil, x.dropRole(st, name.Item())
	case sql.KindDatabase:
		return x.dropDatabase(p, st, name.Item())
	}
	if _, ok := kindOf(st.Kind); !ok {
		return nil, refuse("DROP %s is not supported", st.Kind)
	}
	o, err := x.findObject(st.Kind, name)
	if err := x.skip(err, st.IfExists, st.Kind, name.Item()); err != nil {
		return nil, err
	}
	if err := x.mustOwn(x.ownedObject(o)); err != nil {
		return nil, err
	}
	if o.sys != nil {
		return nil, failf("XX000", "system item '%s' cannot be modified", x.fullName(o))
	}
	if !st.Cascade {
		for _, r := range x.sortedObjects() {
			if r.kind != kindIndex && slices.Contains(r.deps, o.id) {
				return nil, failf("XX000", "cannot drop %s %q: still depended upon by %s %q", strings.ToLower(o.kind.words()),
					o.name, strings.ToLower(r.kind.words()), r.name)
			}
		}
	}
	p.add(o, true)
	return nil, nil
}

func (x *ddl) dropSchema(p *dropPlan, st *sql.Drop, name sql.Name) (func(), error) {
	s, err := x.findSchema(name)
	if err := x.skip(err, st.IfExists, st.Kind, name.Item()); err != nil {
		return nil, err
	}
	if s.system() || s.tempConn != 0 {
		return nil, failf("XX000", "cannot drop schema %s because it is required by the database system", s.name)
	}
	if err := x.mustOwn(x.ownedSchema(s)); err != nil {
		return nil, err
	}
	db := x.databases[s.database]
	if err := x.need(db.acl, privUsage, "DATABASE", db.name); err != nil {
		return nil, err
	}
	var items []*object
	for _, o := range x.objects {
		if o.schema == s.id {
			items = append(items, o)
		}
	}
	if len(items) > 0 && !st.Cascade {
		return nil, failf("XX000", "schema '%s' cannot be dropped without CASCADE while it contains objects", x.schemaName(s))
	}
	slices.SortFunc(items, func(a, b *object) int { return strings.Compare(a.name, b.name) })
	for _, o := range items {
		p.add(o, false)
	}
	return func() { x.removeSchema(s.id) }, nil
}

func (x *ddl) dropCluster(p *dropPlan, st *sql.Drop, name sql.Name) (func(), error) {
	c, err := x.findCluster(name.Item())
	if err := x.skip(err, st.IfExists, st.Kind, name.Item()); err != nil {
		return nil, err
	}
	if err := x.mustOwn(x.ownedCluster(c)); err != nil {
		return nil, err
	}
	if c.system() {
		return nil, failf("XX000", "system cluster '%s' cannot be modified", c.name)
	}
	var bound []*object
	for _, o := range x.sortedObjects() {
		if o.cluster == c.id {
			bound = append(bound, o)
		}
	}
	if len(bound) > 0 && !st.Cascade {
		return nil, &sql.Error{Code: "XX000", Message: fmt.Sprintf("cannot drop cluster %q because other objects depend on it", c.name),
			Hint: "Use DROP ... CASCADE to drop the dependent objects too."}
	}
	for _, o := range bound {
		p.add(o, false)
	}
	for _, r := range c.replicas {
		p.line("CLUSTER REPLICA", r.name)
	}
	return func() {
		x.removeCluster(c.id)
		if x.by.cluster == c.name {
			x.notices = append(x.notices, notice{severity: "NOTICE", code: "MZ003",
				message: fmt.Sprintf("active cluster %q has been dropped", c.name),
				hint:    "Choose a new active cluster by executing SET CLUSTER = <name>."})
		}
	}, nil
}

func (x *ddl) dropReplica(st *sql.Drop, name sql.Name) error {
	if len(name) != 2 {
		return failf("XX000", "cluster replica name must be cluster.replica")
	}
	c, err := x.findCluster(name[0])
	if err := x.skip(err, st.IfExists, st.Kind, name.String()); err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedCluster(c)); err != nil {
		return err
	}
	if c.managed {
		return failf("XX000", "cannot modify managed cluster %s", c.name)
	}
	i := slices.IndexFunc(c.replicas, func(r replica) bool { return r.name == name[1] })
	if i < 0 {
		return x.skip(failf("XX000", "unknown cluster replica '%s'", name[1]), st.IfExists, st.Kind, name.String())
	}
	own := *c
	own.replicas = slices.Delete(slices.Clone(c.replicas), i, i+1)
	x.clusters[c.id] = &own
	x.dropped = append(x.dropped, droppedThing{id: c.replicas[i].id, name: c.replicas[i].name})
	x.event("drop", "cluster-replica", map[string]any{"cluster_id": c.id, "cluster_name": c.name,
		"replica_id": c.replicas[i].id, "replica_name": c.replicas[i].name})
	return nil
}

func (x *ddl) dropDatabase(p *dropPlan, st *sql.Drop, name string) (func(), error) {
	d := x.databaseByName(name)
	if d == nil {
		return nil, x.skip(failf("XX000", "unknown database '%s'", name), st.IfExists, st.Kind, name)
	}
	if err := x.mustOwn(owned{"DATABASE", d.name, d.owner}); err != nil {
		return nil, err
	}
	var schemas []*schema
	for _, s := range x.schemas {
		if s.database == d.id {
			schemas = append(schemas, s)
		}
	}
	if len(schemas) > 0 && !st.Cascade {
		return nil, failf("XX000", "database '%s' cannot be dropped with RESTRICT while it contains schemas", d.name)
	}
	slices.SortFunc(schemas, func(a, b *schema) int { return strings.Compare(a.name, b.name) })
	for _, s := range schemas {
		for _, o := range x.sortedObjects() {
			if o.schema == s.id {
				p.add(o, false)
			}
		}
		p.line("SCHEMA", x.schemaName(s))
	}
	return func() {
		for _, s := range schemas {
			x.removeSchema(s.id)
		}
		delete(x.databases, d.id)
		delete(x.databaseNames, d.name)
		x.uncomment("database", d.id)
		x.event("drop", "database", map[string]any{"id": d.id, "name": d.name})
	}, nil
}

func (x *ddl) dropRole(st *sql.Drop, name string) error {
	r, err := x.findRole(name)
	if err := x.skip(err, st.IfExists, st.Kind, name); err != nil {
		return err
	}
	if err := x.needSystem(privCreateRole); err != nil {
		return err
	}
	if r.id == x.by.role {
		return failf("42501", "current role cannot be dropped")
	}
	if held := x.heldBy(r); len(held) > 0 {
		return &sql.Error{Code: "2BP01", Message: fmt.Sprintf("role %q cannot be dropped because some objects depend on it", r.name),
			Detail: strings.Join(held, "\n")}
	}
	for _, other := range slices.Collect(maps.Values(x.roles)) {
		if i := slices.Index(other.memberOf, r.id); i >= 0 {
			own := *other
			own.memberOf = slices.Delete(slices.Clone(other.memberOf), i, i+1)
			x.roles[own.id] = &own
		}
	}
	delete(x.roles, r.id)
	delete(x.roleNames, r.name)
	x.uncomment("role", r.id)
	x.event("drop", "role", map[string]any{"id": r.id, "name": r.name})
	return nil
}

// heldBy lists why a role cannot go: what it owns and what it was granted.
func (x *ddl) heldBy(r *role) []string {
	var out []string
	note := func(kind, name, owner string, list acl) {
		if owner == r.id {
			out = append(out, fmt.Sprintf("owner of %s %s", kind, name))
			return
		}
		for g := range list {
			if g.grantee == r.id || g.grantor == r.id {
				out = append(out, fmt.Sprintf("privileges on %s %s granted to %s", kind, name, r.name))
				return
			}
		}
	}
	for _, d := range x.databases {
		note("DATABASE", d.name, d.owner, d.acl)
	}
	for _, s := range x.schemas {
		note("SCHEMA", x.schemaName(s), s.owner, s.acl)
	}
	for _, c := range x.clusters {
		note("CLUSTER", c.name, c.owner, c.acl)
	}
	for _, o := range x.objects {
		if o.sys == nil {
			note(o.kind.words(), x.fullName(o), o.owner, o.acl)
		}
	}
	slices.Sort(out)
	return out
}

package sim

import (
	"context"
	"slices"
	"strings"
	"time"

	"mzcanary/internal/sim/sql"
)

// A resolver gives the language its relations and functions. While planning it looks names up in a scope and notes
// what they mean (names); with these notes the plan means the same objects however names move. While evaluating it
// takes them from the notes and says from which catalog and which contents they are read.
type resolver struct {
	server  *Server // nil while planning
	cat     *catalog
	scope   scope
	session *session
	names   names    // written while planning, read while evaluating
	ids     []string // found while planning, in the order of first mention
	eval    *evaluation
}

// names is what the relations of a query meant when it was planned: a name as written → an id.
type names map[string]string

// evaluation is one computation: which contents, at what time.
type evaluation struct {
	data *dataVersion
	now  time.Time
	// volatile is set when something was read that another session or moment would see differently.
	volatile bool
}

// planner is a resolver that plans.
func planner(c *catalog, sc scope, se *session) *resolver {
	return &resolver{cat: c, scope: sc, session: se, names: names{}}
}

// evaluate computes a plan's rows as r sees them.
func (r *resolver) evaluate(ctx context.Context, plan *sql.Plan, args []sql.Value) ([][]sql.Value, error) {
	rows, err := plan.Eval(ctx, r, args)
	if err != nil && ctx.Err() != nil {
		return nil, ended(ctx)
	}
	return rows, err
}

// reader is the resolver of a session's evaluation over some contents.
func (se *session) reader(c *catalog, n names, data *dataVersion, now time.Time) *resolver {
	return &resolver{server: se.s, cat: c, scope: se.scope(), session: se, names: n, eval: &evaluation{data: data, now: now}}
}

// Relation implements sql.Resolver.
func (r *resolver) Relation(name sql.Name) (*sql.Relation, error) {
	key := name.String()
	if r.eval != nil {
		o := r.cat.objects[r.names[key]]
		if o == nil {
			return nil, failf("42704", "collection '%s' was dropped", r.names[key])
		}
		return &sql.Relation{Columns: o.columns, Rows: func(ctx context.Context) ([][]sql.Value, error) { return r.rows(ctx, o) }}, nil
	}
	o, err := r.cat.lookup(r.scope, name)
	switch {
	case err != nil:
		return nil, err
	case !o.kind.relation():
		return nil, failf("XX000", "%s is not a relation: it is a %s", sql.QuoteIdent(r.cat.fullName(o)), strings.ToLower(o.kind.words()))
	case o.kind == kindSource:
		return nil, refuse("sources cannot be read")
	}
	r.names[key] = o.id
	if !slices.Contains(r.ids, o.id) {
		r.ids = append(r.ids, o.id)
	}
	return &sql.Relation{Columns: o.columns}, nil
}

// rows reads everything of one relation.
func (r *resolver) rows(ctx context.Context, o *object) ([][]sql.Value, error) {
	switch {
	case o.sys != nil:
		r.eval.volatile = true
		return r.systemRows(o)
	case o.view != nil:
		return r.viewRows(ctx, o)
	}
	return r.eval.data.rows(o.id), nil
}

// memoRows is a view's contents at one version of the data.
type memoRows struct {
	data *dataVersion
	rows [][]sql.Value
}

// viewRows evaluates a view at the evaluation's data; contents that depend on nothing else are remembered.
func (r *resolver) viewRows(ctx context.Context, o *object) ([][]sql.Value, error) {
	s := r.server
	s.memoMu.Lock()
	known, ok := s.memo[o.id]
	s.memoMu.Unlock()
	if ok && known.data == r.eval.data {
		return known.rows, nil
	}
	own := &evaluation{data: r.eval.data, now: r.eval.now}
	inner := &resolver{server: s, cat: r.cat, scope: r.scope, session: r.session, names: o.view.names, eval: own}
	rows, err := inner.evaluate(ctx, o.view.plan, nil)
	if err != nil {
		return nil, err
	}
	if own.volatile {
		r.eval.volatile = true
		return rows, nil
	}
	s.memoMu.Lock()
	if !ok || s.memo[o.id].data == nil || s.memo[o.id].data.ts <= own.data.ts {
		s.memo[o.id] = memoRows{own.data, rows}
	}
	s.memoMu.Unlock()
	return rows, nil
}

func (r *resolver) systemRows(o *object) ([][]sql.Value, error) {
	s, c := r.server, r.cat
	if !o.sys.static || !c.published {
		return o.sys.rows(r)
	}
	c.memoMu.Lock()
	rows, ok := c.memo[o.id]
	c.memoMu.Unlock()
	if ok {
		return rows, nil
	}
	rows, err := o.sys.rows(&resolver{server: s, cat: c, eval: r.eval})
	if err != nil {
		return nil, err
	}
	c.memoMu.Lock()
	c.memo[o.id] = rows
	c.memoMu.Unlock()
	return rows, nil
}

// planned is a query planned against one catalog and one scope, with what an access check and a wait need to know.
type planned struct {
	plan  *sql.Plan
	names names
	ids   []string        // named directly
	reads map[string]bool // the whole closure
	// system: reads nothing but system relations; constant: reads nothing.
	system, constant bool
}

// planKey is what a plan depends on besides the catalog it is remembered in.
type planKey struct {
	query          *sql.Query
	database, path string
	conn           uint32 // of a session with temporary objects, else 0
	params         string
}

// maxPlans bounds what one catalog remembers; beyond it the plans start anew.
const maxPlans = 4096

func (c *catalog) plan(q *sql.Query, sc scope, params []uint32, se *session) (*planned, error) {
	key := planKey{query: q, database: sc.database, path: strings.Join(sc.path, "\x00")}
	if c.schemas[tempSchemaID(sc.conn)] != nil {
		key.conn = sc.conn
	}
	if len(params) > 0 {
		key.params = oidKey(params)
	}
	if c.published {
		c.memoMu.Lock()
		p := c.plans[key]
		c.memoMu.Unlock()
		if p != nil {
			return p, nil
		}
	}
	r := planner(c, sc, se)
	plan, err := q.Plan(r, params)
	if err != nil {
		return nil, err
	}
	p := &planned{plan: plan, names: r.names, ids: r.ids, reads: c.closure(r.ids), constant: len(r.ids) == 0}
	p.system = len(r.ids) > 0
	for id := range p.reads {
		if c.objects[id].sys == nil {
			p.system = false
		}
	}
	if c.published {
		c.memoMu.Lock()
		if len(c.plans) >= maxPlans {
			clear(c.plans)
		}
		c.plans[key] = p
		c.memoMu.Unlock()
	}
	return p, nil
}

func oidKey(params []uint32) string {
	b := make([]byte, 0, 4*len(params))
	for _, p := range params {
		b = append(b, byte(p>>24), byte(p>>16), byte(p>>8), byte(p))
	}
	return string(b)
}

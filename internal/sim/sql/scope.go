package sql

import (
	"context"
	"math"
)

// env is what one evaluation carries. It belongs to one goroutine.
type env struct {
	ctx  context.Context
	r    Resolver
	args []Value
	// memo holds what is computed once per evaluation: the rows of relations,
	// common table expressions and uncorrelated subqueries, and now().
	memo  map[any]any
	steps int
}

// tick is called once per row worked on; it notices cancellation.
func (e *env) tick() error {
	if e.steps++; e.steps&1023 == 0 {
		return e.ctx.Err()
	}
	return nil
}

// maxRows bounds what one step of a query may produce.
const maxRows = 4_000_000

func tooMany(n int) error {
	if n > maxRows {
		return refuse("an intermediate result of more than %d rows is not supported", maxRows)
	}
	return nil
}

// frame is the row an expression sees, with those of the enclosing queries.
type frame struct {
	row   []Value
	outer *frame
}

type evalFunc func(e *env, f *frame) (Value, error)

// scopeCol is a column an expression can name.
type scopeCol struct {
	Column
	table  string // alias or item name; "" of a merged USING column
	schema string
	hidden bool // reachable by its qualified name only, and not by *
}

// scope is what names mean at one place of a query.
type scope struct {
	cols  []scopeCol
	outer *scope
	level int
	agg   *aggScope  // set after grouping: cols then describes keys and aggregates
	srf   []*srfCall // set-returning calls of the select list, their columns behind cols
}

func newScope(outer *scope, cols []scopeCol) *scope {
	s := &scope{cols: cols, outer: outer}
	if outer != nil {
		s.level = outer.level + 1
	}
	return s
}

// planner resolves one statement.
type planner struct {
	r      Resolver
	params []uint32
	// minLevel is the lowest level a name was resolved at since it was last
	// reset; it tells whether a subquery is correlated.
	minLevel int
	ctes     *cteScope
	depth    int
	// refs, when not nil, collects the columns of level refsLevel in use.
	refs      map[int]bool
	refsLevel int
	opaque    bool // since refs was set: a subquery was seen
}

func newPlanner(r Resolver, params []uint32) *planner {
	return &planner{r: r, params: append([]uint32(nil), params...), minLevel: math.MaxInt}
}

// resolved is where a name was found.
type resolved struct {
	depth, index int
	col          scopeCol
}

// resolve finds a column by its name parts in the nearest scope that has it.
func (p *planner) resolve(s *scope, parts Name) (resolved, error) {
	depth := 0
	for at := s; at != nil; at, depth = at.outer, depth+1 {
		cols := at.cols
		if at.agg != nil {
			cols = at.agg.input.cols
		}
		i, err := findColumn(cols, parts)
		if err != nil {
			return resolved{}, err
		}
		if i < 0 {
			continue
		}
		p.minLevel = min(p.minLevel, at.level)
		if p.refs != nil && at.level == p.refsLevel {
			p.refs[i] = true
		}
		if at.agg == nil {
			return resolved{depth, i, cols[i]}, nil
		}
		slot, ok := at.agg.keys[columnKey(0, i)]
		if !ok {
			return resolved{}, planError("column %s must appear in the GROUP BY clause or be used in an aggregate function", rustQuote(qualifiedColumn(cols[i])))
		}
		return resolved{depth, slot, at.cols[slot]}, nil
	}
	return resolved{}, planError("column %s does not exist", rustQuote(parts.String()))
}

func qualifiedColumn(c scopeCol) string {
	if c.table == "" {
		return c.Name
	}
	return c.table + "." + c.Name
}

// findColumn looks a name up in one scope; -1: not there.
func findColumn(cols []scopeCol, parts Name) (int, error) {
	found := -1
	for i, c := range cols {
		if !c.matches(parts) {
			continue
		}
		if found >= 0 {
			return 0, planError("column reference %s is ambiguous", rustQuote(parts.Item()))
		}
		found = i
	}
	return found, nil
}

func (c scopeCol) matches(parts Name) bool {
	n := len(parts)
	if parts[n-1] != c.Name {
		return false
	}
	switch n {
	case 1:
		return !c.hidden
	case 2:
		return parts[0] == c.table
	default:
		return parts[n-2] == c.table && parts[n-3] == c.schema
	}
}

// cteScope is a chain of visible common table expressions.
type cteScope struct {
	name string
	plan *subplan
	next *cteScope
}

func (c *cteScope) find(name string) *subplan {
	for ; c != nil; c = c.next {
		if c.name == name {
			return c.plan
		}
	}
	return nil
}

// subplan is a planned query inside another.
type subplan struct {
	op         operator
	cols       []Column
	unknown    []bool // columns whose type no context has decided yet
	correlated bool
}

// rows evaluates the subplan, once per evaluation when nothing of it depends
// on the row around it.
func (s *subplan) rows(e *env, f *frame) ([][]Value, error) {
	if s.correlated {
		return s.op.rows(e, f)
	}
	if rows, ok := e.memo[s].([][]Value); ok {
		return rows, nil
	}
	rows, err := s.op.rows(e, f)
	if err == nil {
		e.memo[s] = rows
	}
	return rows, err
}

// subquery plans a query inside another, with names of outer visible.
func (p *planner) subquery(q *Query, outer *scope) (*subplan, error) {
	p.opaque = true
	if p.depth++; p.depth > maxNesting {
		return nil, refuse("queries nested this deep are not supported")
	}
	defer func() { p.depth-- }()
	saved, level := p.minLevel, -1
	if outer != nil {
		level = outer.level
	}
	p.minLevel = math.MaxInt
	sub, err := p.query(q, outer, nil)
	if err != nil {
		return nil, err
	}
	sub.correlated = p.minLevel <= level
	p.minLevel = min(p.minLevel, saved)
	return sub, nil
}

package sql

import (
	"context"
	"slices"
)

// WritePlan is an INSERT, UPDATE or DELETE whose names and types are resolved.
// Like a [Plan] it is immutable.
type WritePlan struct {
	Params []uint32 // OIDs of $1, $2, …
	// Constant says that an INSERT reads no relation, as INSERT … VALUES:
	// only such a one can share a transaction with others.
	Constant bool

	eval func(e *env, rows [][]Value) (Changes, error)
}

// Changes is what a write does to its table. Update and Delete name rows by
// their index in the rows given to Eval.
type Changes struct {
	Insert [][]Value
	Update map[int][]Value
	Delete []int
}

// Eval computes the changes; rows are the table's rows now (not needed for an
// INSERT).
func (p *WritePlan) Eval(ctx context.Context, r Resolver, rows [][]Value, args []Value) (Changes, error) {
	return p.eval(newEnv(ctx, r, args), rows)
}

// Plan resolves the INSERT for its table.
func (s *Insert) Plan(r Resolver, table *Relation, params []uint32) (*WritePlan, error) {
	targets, err := insertTargets(table, s.Columns)
	if err != nil {
		return nil, err
	}
	p := newPlanner(r, params)
	if s.Query == nil {
		row := make([]Value, len(table.Columns))
		return &WritePlan{Constant: true, eval: func(*env, [][]Value) (Changes, error) {
			return Changes{Insert: [][]Value{row}}, notNull(table, row)
		}}, nil
	}
	hints := make([]Type, len(targets))
	for i, t := range targets {
		hints[i] = table.Columns[t].Type
	}
	sub, err := p.query(s.Query, nil, hints)
	if err != nil {
		return nil, err
	}
	if len(sub.cols) > len(targets) {
		return nil, planError("INSERT has more expressions than target columns")
	}
	if len(s.Columns) > 0 && len(sub.cols) < len(targets) {
		return nil, planError("INSERT has more target columns than expressions")
	}
	casts := make([]*typed, len(sub.cols))
	for i, c := range sub.cols {
		want := table.Columns[targets[i]]
		t, ok := p.as(columnAt(0, i, c), want.Type, castAssignment)
		if !ok && !sub.unknown[i] {
			return nil, planError("column %s is of type %s but expression is of type %s", rustQuote(want.Name), want.Type, c.Type)
		}
		casts[i] = t
	}
	if err := p.allDecided(); err != nil {
		return nil, err
	}
	return &WritePlan{Params: p.params, Constant: s.Query.Constant(), eval: func(e *env, _ [][]Value) (Changes, error) {
		return insertRows(e, table, sub, targets, casts)
	}}, nil
}

func insertRows(e *env, table *Relation, sub *subplan, targets []int, casts []*typed) (Changes, error) {
	in, err := sub.rows(e, nil)
	if err != nil {
		return Changes{}, err
	}
	var ch Changes
	for _, row := range in {
		out := make([]Value, len(table.Columns))
		for i, c := range casts {
			if out[targets[i]], err = c.eval(e, &frame{row: row}); err != nil {
				return Changes{}, err
			}
		}
		if err := notNull(table, out); err != nil {
			return Changes{}, err
		}
		ch.Insert = append(ch.Insert, out)
	}
	return ch, nil
}

// insertTargets are the table's columns an INSERT or COPY fills, in its order.
func insertTargets(table *Relation, names []string) ([]int, error) {
	var targets []int
	if len(names) == 0 {
		for i := range table.Columns {
			targets = append(targets, i)
		}
	}
	for _, n := range names {
		i := columnIndex(table, n)
		if i < 0 {
			return nil, planError("column %s does not exist", rustQuote(n))
		}
		if slices.Contains(targets, i) {
			return nil, planError("column %s specified more than once", rustQuote(n))
		}
		targets = append(targets, i)
	}
	return targets, nil
}

func columnIndex(table *Relation, name string) int {
	return slices.IndexFunc(table.Columns, func(c Column) bool { return c.Name == name })
}

func notNull(table *Relation, row []Value) error {
	for i, c := range table.Columns {
		if row[i] == nil && !c.Nullable {
			return &Error{Code: "23502", Message: "null value in column " + rustQuote(c.Name) + " violates not-null constraint"}
		}
	}
	return nil
}

// Plan resolves the UPDATE for its table.
func (s *Update) Plan(r Resolver, table *Relation, params []uint32) (*WritePlan, error) {
	p := newPlanner(r, params)
	sc := newScope(nil, scopeColumns(table.Columns, "", tableName(s.Table, s.Alias)))
	cond, err := p.condition(s.Where, sc)
	if err != nil {
		return nil, err
	}
	values := map[int]*typed{}
	for _, a := range s.Set {
		i := columnIndex(table, a.Column)
		if i < 0 {
			return nil, planError("unknown column %s", a.Column)
		}
		if values[i] != nil {
			return nil, planError("column %s set twice", a.Column)
		}
		t, err := p.compile(a.Value, sc)
		if err != nil {
			return nil, err
		}
		c, ok := p.as(t, table.Columns[i].Type, castAssignment)
		if !ok {
			return nil, planError("SET clause does not support casting from %s to %s", t.typ, table.Columns[i].Type)
		}
		values[i] = c
	}
	if err := p.allDecided(); err != nil {
		return nil, err
	}
	return &WritePlan{Params: p.params, eval: func(e *env, rows [][]Value) (Changes, error) {
		hits, err := matching(e, rows, cond)
		if err != nil {
			return Changes{}, err
		}
		ch := Changes{Update: make(map[int][]Value, len(hits))}
		for _, i := range hits {
			row := slices.Clone(rows[i])
			for col, t := range values {
				if row[col], err = t.eval(e, &frame{row: rows[i]}); err != nil {
					return Changes{}, err
				}
			}
			if err := notNull(table, row); err != nil {
				return Changes{}, err
			}
			ch.Update[i] = row
		}
		return ch, nil
	}}, nil
}

// Plan resolves the DELETE for its table.
func (s *Delete) Plan(r Resolver, table *Relation, params []uint32) (*WritePlan, error) {
	p := newPlanner(r, params)
	cond, err := p.condition(s.Where, newScope(nil, scopeColumns(table.Columns, "", tableName(s.Table, s.Alias))))
	if err != nil {
		return nil, err
	}
	if err := p.allDecided(); err != nil {
		return nil, err
	}
	return &WritePlan{Params: p.params, eval: func(e *env, rows [][]Value) (Changes, error) {
		hits, err := matching(e, rows, cond)
		return Changes{Delete: hits}, err
	}}, nil
}

func tableName(n Name, alias string) string {
	if alias != "" {
		return alias
	}
	return n.Item()
}

// condition compiles a WHERE clause; nil: there is none.
func (p *planner) condition(x Expr, sc *scope) (*typed, error) {
	if x == nil {
		return nil, nil
	}
	t, err := p.compile(x, sc)
	if err != nil {
		return nil, err
	}
	return p.toBool(t, "WHERE clause")
}

// matching are the indexes of the rows a condition is true for.
func matching(e *env, rows [][]Value, cond *typed) ([]int, error) {
	var hits []int
	for i, row := range rows {
		if err := e.tick(); err != nil {
			return nil, err
		}
		if cond != nil {
			v, err := cond.eval(e, &frame{row: row})
			if err != nil {
				return nil, err
			}
			if v != true {
				continue
			}
		}
		hits = append(hits, i)
	}
	return hits, nil
}

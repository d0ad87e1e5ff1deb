package sql

import "slices"

// filterChain is the grouping of a select with its HAVING on top. The
// aggregates are collected while the select list is planned, so it is finished
// after that.
type filterChain struct {
	agg    *aggOp
	having []*typed
}

func (c *filterChain) finish(s *scope) { c.agg.calls = s.agg.calls }

func (c *filterChain) rows(e *env, f *frame) ([][]Value, error) {
	if len(c.having) == 0 {
		return c.agg.rows(e, f)
	}
	return (&filterOp{in: c.agg, conds: c.having}).rows(e, f)
}

// group plans GROUP BY, HAVING and the aggregates, if there are any.
func (s *selectPlan) group() error {
	exprs := s.itemExprs()
	if s.body.having != nil {
		exprs = append(exprs, s.body.having)
	}
	for _, o := range s.order {
		exprs = append(exprs, o.Expr)
	}
	if len(s.body.groupBy) == 0 && s.body.having == nil && usesAggregate(exprs...) == "" {
		return nil
	}
	if len(s.scope.srf) > 0 {
		return refuse("set-returning functions beside aggregates are not supported")
	}
	agg := &aggScope{input: s.scope, keys: map[string]int{}, index: map[string]int{}}
	grouped := newScope(s.outer, nil)
	grouped.agg = agg
	var keys []*typed
	for _, x := range s.body.groupBy {
		key, t, err := s.groupKey(x)
		if err != nil {
			return err
		}
		if _, dup := agg.keys[key]; dup {
			continue
		}
		agg.keys[key] = len(keys)
		keys = append(keys, t)
		grouped.cols = append(grouped.cols, scopeCol{Column: Column{Type: t.typ, TypeMod: -1, Nullable: t.nullable}})
	}
	agg.nkeys = len(keys)
	chain := &filterChain{agg: &aggOp{in: s.op, keys: keys}}
	s.op, s.scope = chain, grouped
	if s.body.having == nil {
		return nil
	}
	for _, x := range conjuncts(s.body.having) {
		t, err := s.compile(x, grouped)
		if err != nil {
			return err
		}
		if t, err = s.toBool(t, "HAVING clause"); err != nil {
			return err
		}
		chain.having = append(chain.having, t)
	}
	return nil
}

// groupKey resolves one item of GROUP BY: an ordinal, an expression, or the
// name of an output that is no column.
func (s *selectPlan) groupKey(x Expr) (string, *typed, error) {
	i, err := ordinal(x, len(s.outputs), "GROUP BY")
	if err != nil {
		return "", nil, err
	}
	if i < 0 {
		if c, ok := x.(*colExpr); ok && len(c.parts) == 1 {
			if at, _ := findColumn(s.scope.cols, c.parts); at < 0 {
				i = s.outputName(x)
			}
		}
	}
	if i >= 0 {
		o := s.outputs[i]
		if o.expr == nil {
			return columnKey(0, o.index), columnAt(0, o.index, s.scope.cols[o.index].Column), nil
		}
		x = o.expr
	}
	if err := noAggregate(x, "GROUP BY clause"); err != nil {
		return "", nil, err
	}
	t, err := s.compile(x, s.scope)
	if err != nil {
		return "", nil, err
	}
	return s.exprKey(x, s.scope), s.settled(t), nil
}

// aggOp groups rows and computes aggregates; its rows are keys, then results.
type aggOp struct {
	in    operator
	keys  []*typed
	calls []*aggCall
}

func (o *aggOp) rows(e *env, f *frame) ([][]Value, error) {
	in, err := o.in.rows(e, f)
	if err != nil {
		return nil, err
	}
	type group struct {
		keys []Value
		rows [][]Value
	}
	var groups []*group
	byKey := map[string]*group{}
	for _, row := range in {
		if err := e.tick(); err != nil {
			return nil, err
		}
		keys, err := evalAll(e, &frame{row, f}, o.keys)
		if err != nil {
			return nil, err
		}
		k := rowKey(keys)
		g := byKey[k]
		if g == nil {
			g = &group{keys: keys}
			byKey[k] = g
			groups = append(groups, g)
		}
		g.rows = append(g.rows, row)
	}
	if len(groups) == 0 && len(o.keys) == 0 {
		groups = []*group{{}}
	}
	out := make([][]Value, len(groups))
	for i, g := range groups {
		row := slices.Clone(g.keys)
		for _, c := range o.calls {
			v, err := c.compute(e, f, g.rows)
			if err != nil {
				return nil, err
			}
			row = append(row, v)
		}
		out[i] = row
	}
	return out, nil
}

package sql

import "slices"

// output is one column of a select list.
type output struct {
	expr  Expr   // nil: a column of the scope, by index
	index int    // when expr is nil
	name  string // given or invented
}

// selectPlan is the state of planning one SELECT.
type selectPlan struct {
	*planner
	body    *selectBody
	order   []OrderBy
	outer   *scope
	hints   []Type
	op      operator
	scope   *scope
	outputs []output
}

func (p *planner) selectQuery(b *selectBody, order []OrderBy, outer *scope, hints []Type) (*subplan, error) {
	s := &selectPlan{planner: p, body: b, order: order, outer: outer, hints: hints}
	if err := s.from(); err != nil {
		return nil, err
	}
	if err := s.where(); err != nil {
		return nil, err
	}
	if err := s.expandStars(); err != nil {
		return nil, err
	}
	if err := s.group(); err != nil {
		return nil, err
	}
	return s.project()
}

// expandStars turns the items into outputs and plans set-returning calls.
func (s *selectPlan) expandStars() error {
	if err := s.setReturning(); err != nil {
		return err
	}
	for _, item := range s.body.items {
		star, ok := item.expr.(*starExpr)
		switch {
		case !ok:
			name := item.alias
			if name == "" {
				name = s.inventName(item.expr)
			}
			s.outputs = append(s.outputs, output{expr: item.expr, name: name})
		case star.of != nil:
			if err := s.expandCall(star.of); err != nil {
				return err
			}
		default:
			if err := s.expandTable(star.qualifier); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *selectPlan) expandCall(of Expr) error {
	for _, c := range s.scope.srf {
		if c.expr == of {
			for i, col := range c.cols {
				s.outputs = append(s.outputs, output{index: c.at + i, name: col.Name})
			}
			return nil
		}
	}
	return refuse("this form of .* is not supported: %s", of.Text())
}

func (s *selectPlan) expandTable(q Name) error {
	if len(s.body.from) == 0 {
		return planError("SELECT * with no tables specified is not valid")
	}
	found := false
	visible := s.scope.cols
	if len(s.scope.srf) > 0 {
		visible = visible[:s.scope.srf[0].at]
	}
	for i, c := range visible {
		if len(q) == 0 && c.hidden || len(q) > 0 && (c.table != q.Item() || len(q) > 1 && c.schema != q[len(q)-2]) {
			continue
		}
		found = true
		s.outputs = append(s.outputs, output{index: i, name: c.Name})
	}
	if !found && len(q) > 0 {
		return planError("no table named %s in scope", rustQuote(q.String()))
	}
	return nil
}

// itemExprs are the expressions of the select list.
func (s *selectPlan) itemExprs() []Expr {
	var list []Expr
	for _, o := range s.outputs {
		if o.expr != nil {
			list = append(list, o.expr)
		}
	}
	return list
}

// outputName finds the output an unqualified name means; -1: none.
func (s *selectPlan) outputName(x Expr) int {
	c, ok := x.(*colExpr)
	if !ok || len(c.parts) != 1 {
		return -1
	}
	return slices.IndexFunc(s.outputs, func(o output) bool { return o.name == c.parts[0] })
}

// project computes the outputs, sorts, and removes duplicates.
func (s *selectPlan) project() (*subplan, error) {
	sub := &subplan{}
	var exprs []*typed
	for i, o := range s.outputs {
		t, err := s.output(o)
		if err != nil {
			return nil, err
		}
		unknown := t.untyped()
		if unknown && i < len(s.hints) {
			t = s.decide(t, s.hints[i])
		}
		t = s.settled(t)
		exprs = append(exprs, t)
		sub.unknown = append(sub.unknown, unknown && i >= len(s.hints))
		sub.cols = append(sub.cols, Column{Name: o.name, Type: t.typ, TypeMod: -1, Nullable: t.nullable})
	}
	width := len(exprs)
	keys, exprs, err := s.sortKeys(exprs)
	if err != nil {
		return nil, err
	}
	distinctOn, exprs, err := s.distinctKeys(exprs, width)
	if err != nil {
		return nil, err
	}
	if s.scope.agg != nil { // the aggregates are known only now
		s.op.(*filterChain).finish(s.scope)
	}
	op := operator(&projectOp{in: s.op, exprs: exprs})
	if s.body.distinct && distinctOn == nil {
		if len(exprs) > width {
			return nil, planError("for SELECT DISTINCT, ORDER BY expressions must appear in select list")
		}
		op = &distinctOp{in: op}
	}
	if len(keys) > 0 || distinctOn != nil || len(exprs) > width {
		op = &sortOp{in: op, keys: keys, width: width, distinctOn: distinctOn}
	}
	sub.op = op
	return sub, nil
}

func (s *selectPlan) output(o output) (*typed, error) {
	if o.expr != nil {
		return s.compile(o.expr, s.scope)
	}
	if s.scope.agg != nil {
		in := s.scope.agg.input.cols[o.index]
		slot, ok := s.scope.agg.keys[columnKey(0, o.index)]
		if !ok {
			return nil, planError("column %s must appear in the GROUP BY clause or be used in an aggregate function", rustQuote(qualifiedColumn(in)))
		}
		return columnAt(0, slot, s.scope.cols[slot].Column), nil
	}
	if s.refs != nil && s.scope.level == s.refsLevel {
		s.refs[o.index] = true
	}
	return columnAt(0, o.index, s.scope.cols[o.index].Column), nil
}

// sortKeys finds the columns to sort by, adding hidden ones.
func (s *selectPlan) sortKeys(exprs []*typed) ([]sortKey, []*typed, error) {
	width := len(s.outputs)
	var keys []sortKey
	for _, o := range s.order {
		i, err := ordinal(o.Expr, width, "ORDER BY")
		if err != nil {
			return nil, nil, err
		}
		if i < 0 {
			i = s.outputName(o.Expr)
		}
		if i < 0 {
			i, exprs, err = s.hiddenColumn(o.Expr, exprs)
			if err != nil {
				return nil, nil, err
			}
		}
		keys = append(keys, sortKey{i, o.Desc, o.NullsFirst})
	}
	return keys, exprs, nil
}

// hiddenColumn finds or adds a column that holds the expression.
func (s *selectPlan) hiddenColumn(x Expr, exprs []*typed) (int, []*typed, error) {
	key := s.canonical(x)
	for i, o := range s.outputs {
		if o.expr != nil && s.canonical(o.expr) == key || o.expr == nil && columnKey(0, o.index) == key {
			return i, exprs, nil
		}
	}
	t, err := s.compile(x, s.scope)
	if err != nil {
		return 0, nil, err
	}
	return len(exprs), append(exprs, s.settled(t)), nil
}

// canonical is exprKey in the scope below the grouping.
func (s *selectPlan) canonical(x Expr) string {
	if s.scope.agg != nil {
		return s.exprKey(x, s.scope.agg.input)
	}
	return s.exprKey(x, s.scope)
}

func (s *selectPlan) distinctKeys(exprs []*typed, width int) ([]int, []*typed, error) {
	var on []int
	for _, x := range s.body.distinctOn {
		i, err := ordinal(x, width, "DISTINCT ON")
		if err != nil {
			return nil, nil, err
		}
		if i < 0 {
			i = s.outputName(x)
		}
		if i < 0 {
			if i, exprs, err = s.hiddenColumn(x, exprs); err != nil {
				return nil, nil, err
			}
		}
		on = append(on, i)
	}
	return on, exprs, nil
}

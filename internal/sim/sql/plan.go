package sql

import "slices"

// query plans a query expression. hints are the types untyped columns should
// have (the columns of an INSERT's table); nil: they become text.
func (p *planner) query(q *Query, outer *scope, hints []Type) (*subplan, error) {
	saved := p.ctes
	defer func() { p.ctes = saved }()
	for _, c := range q.with {
		sub, err := p.subquery(c.query, outer)
		if err != nil {
			return nil, err
		}
		if sub, err = renamed(sub, c.name, c.columns); err != nil {
			return nil, err
		}
		p.ctes = &cteScope{c.name, sub, p.ctes}
	}
	var sub *subplan
	var err error
	if body, ok := q.body.(*selectBody); ok {
		sub, err = p.selectQuery(body, q.orderBy, outer, hints)
	} else if sub, err = p.setExpr(q.body, outer, hints); err == nil {
		err = p.orderOutputs(sub, q.orderBy, outer)
	}
	if err != nil {
		return nil, err
	}
	if q.limit == nil && q.offset == nil {
		return sub, nil
	}
	op := &limitOp{in: sub.op}
	if op.limit, err = p.rowCount(q.limit, "LIMIT", outer); err != nil {
		return nil, err
	}
	if op.offset, err = p.rowCount(q.offset, "OFFSET", outer); err != nil {
		return nil, err
	}
	return &subplan{op: op, cols: sub.cols, unknown: sub.unknown}, nil
}

func (p *planner) rowCount(x Expr, what string, outer *scope) (*typed, error) {
	if x == nil {
		return nil, nil
	}
	t, err := p.compile(x, newScope(outer, nil))
	if err != nil {
		return nil, err
	}
	t, ok := p.as(t, Int8, castImplicit)
	if !ok {
		return nil, planError("%s must have type bigint", what)
	}
	return t, nil
}

// renamed gives columns other names, as CTE and table aliases do.
func renamed(sub *subplan, what string, names []string) (*subplan, error) {
	if len(names) == 0 {
		return sub, nil
	}
	if len(names) > len(sub.cols) {
		return nil, planError("%s has %d columns available but %d columns specified", what, len(sub.cols), len(names))
	}
	out := *sub
	out.cols = slices.Clone(sub.cols)
	for i, n := range names {
		out.cols[i].Name = n
	}
	return &out, nil
}

// setExpr plans a body that is not a bare SELECT with the query's ORDER BY.
func (p *planner) setExpr(body setExpr, outer *scope, hints []Type) (*subplan, error) {
	switch b := body.(type) {
	case *selectBody:
		return p.selectQuery(b, nil, outer, hints)
	case *Query:
		return p.query(b, outer, hints)
	case *valuesBody:
		return p.values(b, outer, hints)
	case *setOp:
		return p.setOp(b, outer, hints)
	}
	return nil, refuse("this query is not supported")
}

func (p *planner) values(b *valuesBody, outer *scope, hints []Type) (*subplan, error) {
	s := newScope(outer, nil)
	width := len(b.rows[0])
	columns := make([][]*typed, width)
	for _, row := range b.rows {
		if len(row) != width {
			return nil, planError("VALUES expression has varying number of columns: %d vs %d", len(row), width)
		}
		for i, x := range row {
			t, err := p.compile(x, s)
			if err != nil {
				return nil, err
			}
			if t.untyped() && i < len(hints) {
				t = p.decide(t, hints[i])
			}
			columns[i] = append(columns[i], t)
		}
	}
	sub := &subplan{cols: make([]Column, width), unknown: make([]bool, width)}
	rows := make([][]*typed, len(b.rows))
	for i := range rows {
		rows[i] = make([]*typed, width)
	}
	for i, col := range columns {
		sub.unknown[i] = !slices.ContainsFunc(col, func(t *typed) bool { return !t.untyped() })
		col, t, err := p.unify(col, "VALUES")
		if err != nil {
			return nil, err
		}
		sub.cols[i] = Column{Name: "column" + itoa(i+1), Type: t, TypeMod: -1, Nullable: anyNullable(col...)}
		for r, x := range col {
			rows[r][i] = x
		}
	}
	sub.op = &valuesOp{rowExprs: rows}
	return sub, nil
}

func (p *planner) setOp(b *setOp, outer *scope, hints []Type) (*subplan, error) {
	l, err := p.setExpr(b.l, outer, hints)
	if err != nil {
		return nil, err
	}
	r, err := p.setExpr(b.r, outer, hints)
	if err != nil {
		return nil, err
	}
	if len(l.cols) != len(r.cols) {
		return nil, planError("each %s query must have the same number of columns: %d columns on left, %d columns on right", b.op, len(l.cols), len(r.cols))
	}
	out := &subplan{cols: slices.Clone(l.cols), unknown: make([]bool, len(l.cols))}
	types := make([]Type, len(l.cols))
	for i := range types {
		lt, rt := l.cols[i].Type, r.cols[i].Type
		t, ok := lt, true
		switch {
		case l.unknown[i] && r.unknown[i]:
			out.unknown[i] = true
		case l.unknown[i]:
			t = rt
		case r.unknown[i]:
		default:
			t, ok = commonType(lt, rt)
		}
		if !ok {
			return nil, planError("%s types %s and %s cannot be matched", b.op, lt, rt)
		}
		types[i] = t
		out.cols[i].Type, out.cols[i].TypeMod = t, -1
		out.cols[i].Nullable = l.cols[i].Nullable || r.cols[i].Nullable
		switch b.op {
		case "EXCEPT":
			out.cols[i].Nullable = l.cols[i].Nullable
		case "INTERSECT":
			out.cols[i].Nullable = l.cols[i].Nullable && r.cols[i].Nullable
		}
	}
	out.op = &setOpOp{op: b.op, all: b.all, l: castColumns(l, types), r: castColumns(r, types)}
	return out, nil
}

// castColumns converts the columns of a subplan to the given types.
func castColumns(sub *subplan, types []Type) operator {
	exprs := make([]*typed, len(types))
	changed := false
	for i, c := range sub.cols {
		exprs[i] = columnAt(0, i, c)
		if !c.Type.same(types[i]) {
			exprs[i] = convert(exprs[i], types[i], findCast(c.Type, types[i], castExplicit))
			changed = true
		}
	}
	if !changed {
		return sub.op
	}
	return &projectOp{in: sub.op, exprs: exprs}
}

// orderOutputs sorts by names, ordinals or expressions of the output columns.
func (p *planner) orderOutputs(sub *subplan, order []OrderBy, outer *scope) error {
	if len(order) == 0 {
		return nil
	}
	s := newScope(outer, scopeColumns(sub.cols, "", ""))
	width := len(sub.cols)
	exprs := make([]*typed, width)
	for i, c := range sub.cols {
		exprs[i] = columnAt(0, i, c)
	}
	var keys []sortKey
	for _, o := range order {
		i, err := ordinal(o.Expr, width, "ORDER BY")
		if err != nil {
			return err
		}
		if i < 0 {
			t, err := p.compile(o.Expr, s)
			if err != nil {
				return err
			}
			i = len(exprs)
			exprs = append(exprs, p.settled(t))
		}
		keys = append(keys, sortKey{i, o.Desc, o.NullsFirst})
	}
	sub.op = &sortOp{in: &projectOp{in: sub.op, exprs: exprs}, keys: keys, width: width}
	return nil
}

// ordinal is the column an integer literal names, from 0; -1: no such literal.
func ordinal(x Expr, width int, clause string) (int, error) {
	lit, ok := x.(*litExpr)
	if !ok {
		return -1, nil
	}
	n, ok := lit.value.(numberLit)
	if !ok {
		return -1, nil
	}
	v, err := parseInt(string(n), Int8)
	if err != nil {
		return 0, planError("%s does not support non-integer constants", clause)
	}
	if i := v.(int64); i >= 1 && i <= int64(width) {
		return int(i - 1), nil
	}
	return 0, planError("column reference %s in %s clause is out of range (1 - %d)", n, clause, width)
}

func scopeColumns(cols []Column, schema, table string) []scopeCol {
	out := make([]scopeCol, len(cols))
	for i, c := range cols {
		out[i] = scopeCol{Column: c, schema: schema, table: table}
	}
	return out
}

package sql

import (
	"slices"
	"strings"
)

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

// inventName is the name of an output without an alias.
func (p *planner) inventName(x Expr) string {
	if name, _ := columnName(x); name != "" {
		return name
	}
	return "?column?"
}

// columnName invents a column's name from its expression; strong names win
// over the type name of a cast around them.
func columnName(x Expr) (name string, strong bool) {
	switch x := x.(type) {
	case *colExpr:
		return x.parts.Item(), true
	case *litExpr:
		switch x.value.(type) {
		case bool:
			return "bool", true
		case Interval:
			return "interval", true
		}
	case *callExpr:
		return x.name.Item(), true
	case *sameTypeExpr:
		return x.name, true
	case *arrayExpr:
		if x.list {
			return "list", true
		}
		return "array", true
	case *castExpr:
		if name, strong := columnName(x.x); strong {
			return name, true
		}
		t, err := x.t.resolve()
		if err != nil {
			return "", false
		}
		return strings.TrimSuffix(t.catalogName(), "[]"), false
	case *caseExpr:
		if x.els != nil {
			if name, strong := columnName(x.els); strong {
				return name, true
			}
		}
		return "case", false
	case *fieldExpr:
		return x.field, true
	case *subscriptExpr:
		return columnName(x.x)
	case *existsExpr:
		return "exists", true
	case *subqueryExpr:
		if x.kind != "" {
			return strings.ToLower(x.kind), true
		}
		return queryColumnName(x.query)
	case *rowExpr:
		return "row", true
	}
	return "", false
}

// queryColumnName is the name of the first column of a scalar subquery.
func queryColumnName(q *Query) (string, bool) {
	body := q.body
	for {
		switch b := body.(type) {
		case *selectBody:
			if len(b.items) != 1 {
				return "", false
			}
			if b.items[0].alias != "" {
				return b.items[0].alias, true
			}
			return columnName(b.items[0].expr)
		case *setOp:
			body = b.l
		case *Query:
			body = b.body
		default:
			return "", false
		}
	}
}

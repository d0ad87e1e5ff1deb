package sql

import "slices"

// fromItem is a planned part of a FROM clause. Its expressions see the columns
// of the whole FROM clause, of which it fills those from lo on.
type fromItem struct {
	op   operator
	cols []scopeCol
}

// from plans the FROM clause into one operator and the scope it fills.
func (s *selectPlan) from() error {
	item := fromItem{op: &oneRowOp{}}
	for i, t := range s.body.from {
		right, lateral, err := s.table(t, item.cols)
		if err != nil {
			return err
		}
		if i == 0 && !lateral {
			item = right
			continue
		}
		item = crossJoin(item, right, lateral)
	}
	if err := uniqueTables(s.body.from); err != nil {
		return err
	}
	s.op, s.scope = item.op, newScope(s.outer, item.cols)
	return nil
}

func crossJoin(l, r fromItem, lateral bool) fromItem {
	return fromItem{
		op:   &joinOp{l: l.op, r: r.op, lwidth: len(l.cols), rwidth: len(r.cols), lateral: lateral},
		cols: slices.Concat(l.cols, r.cols),
	}
}

// uniqueTables refuses two relations of one name in a FROM clause.
func uniqueTables(list []tableExpr) error {
	seen := map[string]bool{}
	var check func(t tableExpr) error
	check = func(t tableExpr) error {
		name := ""
		switch t := t.(type) {
		case *tableRef:
			name = aliasOr(t.alias, t.name.Item())
			if t.alias.name == "" {
				name = t.name.String()
			}
		case *tableSub:
			name = t.alias.name
		case *tableJoin:
			if err := check(t.l); err != nil {
				return err
			}
			return check(t.r)
		}
		if name != "" && seen[name] {
			return planError("table name %s specified more than once", rustQuote(name))
		}
		seen[name] = true
		return nil
	}
	for _, t := range list {
		if err := check(t); err != nil {
			return err
		}
	}
	return nil
}

func aliasOr(a tableAlias, name string) string {
	if a.name != "" {
		return a.name
	}
	return name
}

// table plans one item; left are the columns a lateral item may use.
func (s *selectPlan) table(t tableExpr, left []scopeCol) (item fromItem, lateral bool, err error) {
	switch t := t.(type) {
	case *tableRef:
		item, err = s.relation(t)
	case *tableSub:
		item, lateral, err = s.derived(t, left)
	case *tableFunc:
		item, err = s.tableFunction(t, left)
		lateral = true
	case *tableJoin:
		item, err = s.join(t, left)
	}
	return item, lateral, err
}

func (s *selectPlan) relation(t *tableRef) (fromItem, error) {
	name := aliasOr(t.alias, t.name.Item())
	if len(t.name) == 1 {
		if sub := s.ctes.find(t.name[0]); sub != nil {
			sub, err := renamed(sub, name, t.alias.columns)
			if err != nil {
				return fromItem{}, err
			}
			return fromItem{&subOp{sub}, scopeColumns(sub.cols, "", name)}, nil
		}
	}
	rel, err := s.r.Relation(t.name)
	if err != nil {
		return fromItem{}, err
	}
	sub, err := renamed(&subplan{op: &scanOp{t.name, len(rel.Columns)}, cols: rel.Columns}, name, t.alias.columns)
	if err != nil {
		return fromItem{}, err
	}
	schema := ""
	if t.alias.name == "" && len(t.name) > 1 {
		schema = t.name[len(t.name)-2]
	}
	return fromItem{sub.op, scopeColumns(sub.cols, schema, name)}, nil
}

func (s *selectPlan) derived(t *tableSub, left []scopeCol) (fromItem, bool, error) {
	outer := s.outer
	if t.lateral {
		outer = newScope(s.outer, left)
	}
	sub, err := s.subquery(t.query, outer)
	if err != nil {
		return fromItem{}, false, err
	}
	if sub, err = renamed(sub, t.alias.name, t.alias.columns); err != nil {
		return fromItem{}, false, err
	}
	return fromItem{&subOp{sub}, scopeColumns(sub.cols, "", t.alias.name)}, t.lateral, nil
}

func (s *selectPlan) join(t *tableJoin, left []scopeCol) (fromItem, error) {
	l, lateralLeft, err := s.table(t.l, left)
	if err != nil {
		return fromItem{}, err
	}
	if lateralLeft {
		if len(left) > 0 {
			return fromItem{}, refuse("a lateral item inside a join after a comma is not supported")
		}
		l = crossJoin(fromItem{op: &oneRowOp{}}, l, true)
	}
	r, lateral, err := s.table(t.r, l.cols)
	if err != nil {
		return fromItem{}, err
	}
	if lateral && (t.kind == joinRight || t.kind == joinFull) {
		return fromItem{}, planError("the combining JOIN type must be INNER or LEFT for a LATERAL reference")
	}
	op := &joinOp{kind: t.kind, l: l.op, r: r.op, lwidth: len(l.cols), rwidth: len(r.cols), lateral: lateral}
	cols := slices.Concat(l.cols, r.cols)
	for i := range cols {
		if i < len(l.cols) && (t.kind == joinRight || t.kind == joinFull) || i >= len(l.cols) && (t.kind == joinLeft || t.kind == joinFull) {
			cols[i].Nullable = true
		}
	}
	if names := s.sharedColumns(t, l, r); names != nil {
		return s.joinUsing(op, names, l, r, cols)
	}
	if t.on != nil {
		if err := s.joinOn(op, t.on, cols); err != nil {
			return fromItem{}, err
		}
	}
	return fromItem{op, cols}, nil
}

// joinOn splits the condition into equalities of the two sides, which are
// hashed, and the rest.
func (s *selectPlan) joinOn(op *joinOp, on Expr, cols []scopeCol) error {
	for _, x := range conjuncts(on) {
		if err := s.joinConjunct(op, x, cols); err != nil {
			return err
		}
	}
	return nil
}

func (s *selectPlan) joinConjunct(op *joinOp, x Expr, cols []scopeCol) error {
	if b, ok := x.(*binaryExpr); ok && b.op == "=" && !op.lateral {
		l, lside, err := s.side(b.l, cols, op.lwidth)
		if err != nil {
			return err
		}
		r, rside, err := s.side(b.r, cols, op.lwidth)
		if err != nil {
			return err
		}
		if lside*rside == -1 {
			l, r, err := s.pair("=", l, r)
			if err != nil {
				return err
			}
			if lside == 1 {
				l, r = r, l
			}
			op.lkeys, op.rkeys = append(op.lkeys, l), append(op.rkeys, r)
			return nil
		}
	}
	t, err := s.compile(x, newScope(s.outer, cols))
	if err != nil {
		return err
	}
	if t, err = s.toBool(t, "ON clause"); err != nil {
		return err
	}
	op.conds = append(op.conds, t)
	return nil
}

// side compiles an expression and says which side of a join it needs: -1 only
// the left, 1 only the right, 0 both, none or unclear.
func (s *selectPlan) side(x Expr, cols []scopeCol, lwidth int) (*typed, int, error) {
	sc := newScope(s.outer, cols)
	t, refs, opaque, err := s.withRefs(x, sc)
	if err != nil || opaque || len(refs) == 0 {
		return t, 0, err
	}
	left, right := false, false
	for i := range refs {
		left = left || i < lwidth
		right = right || i >= lwidth
	}
	switch {
	case left && right:
		return t, 0, nil
	case left:
		return t, -1, nil
	}
	return t, 1, nil
}

// withRefs compiles an expression and tells which columns of its own scope it
// uses, and whether a subquery may use more.
func (p *planner) withRefs(x Expr, sc *scope) (t *typed, refs map[int]bool, opaque bool, err error) {
	savedRefs, savedLevel, savedOpaque := p.refs, p.refsLevel, p.opaque
	p.refs, p.refsLevel, p.opaque = map[int]bool{}, sc.level, false
	t, err = p.compile(x, sc)
	refs, opaque = p.refs, p.opaque
	p.refs, p.refsLevel, p.opaque = savedRefs, savedLevel, savedOpaque || opaque
	return t, refs, opaque, err
}

func conjuncts(x Expr) []Expr {
	if b, ok := x.(*binaryExpr); ok && b.op == "AND" {
		return append(conjuncts(b.l), conjuncts(b.r)...)
	}
	return []Expr{x}
}

func (s *selectPlan) sharedColumns(t *tableJoin, l, r fromItem) []string {
	if !t.natural {
		return t.using
	}
	names := []string{}
	for _, c := range l.cols {
		if !c.hidden && slices.ContainsFunc(r.cols, func(d scopeCol) bool { return !d.hidden && d.Name == c.Name }) {
			names = append(names, c.Name)
		}
	}
	return names
}

// joinUsing joins by columns of equal names, which become one.
func (s *selectPlan) joinUsing(op *joinOp, names []string, l, r fromItem, cols []scopeCol) (fromItem, error) {
	if op.kind == joinFull {
		return fromItem{}, refuse("FULL JOIN … USING is not supported")
	}
	var merged []scopeCol
	var exprs []*typed
	for _, name := range names {
		li, err := s.usingColumn(l.cols, name)
		if err != nil {
			return fromItem{}, err
		}
		ri, err := s.usingColumn(r.cols, name)
		if err != nil {
			return fromItem{}, err
		}
		lk, rk, err := s.pair("=", columnAt(0, li, l.cols[li].Column), columnAt(0, op.lwidth+ri, r.cols[ri].Column))
		if err != nil {
			return fromItem{}, err
		}
		op.lkeys, op.rkeys = append(op.lkeys, lk), append(op.rkeys, rk)
		keep := li
		if op.kind == joinRight {
			keep = op.lwidth + ri
		}
		m := cols[keep]
		m.table, m.schema = "", ""
		merged = append(merged, m)
		exprs = append(exprs, columnAt(0, keep, cols[keep].Column))
		cols[li].hidden, cols[op.lwidth+ri].hidden = true, true
	}
	for i := range cols {
		exprs = append(exprs, columnAt(0, i, cols[i].Column))
	}
	return fromItem{&projectOp{in: op, exprs: exprs}, append(merged, cols...)}, nil
}

func (s *selectPlan) usingColumn(cols []scopeCol, name string) (int, error) {
	i, err := findColumn(cols, Name{name})
	if err == nil && i < 0 {
		err = planError("column %s specified in USING clause does not exist in one of the tables", rustQuote(name))
	}
	return i, err
}

// where plans the WHERE clause, giving each condition to the lowest part of
// the FROM clause that has what it needs.
func (s *selectPlan) where() error {
	if s.body.where == nil {
		return nil
	}
	if err := noAggregate(s.body.where, "WHERE clause"); err != nil {
		return err
	}
	var top []*typed
	for _, x := range conjuncts(s.body.where) {
		t, refs, opaque, err := s.withRefs(x, s.scope)
		if err != nil {
			return err
		}
		if t, err = s.toBool(t, "WHERE clause"); err != nil {
			return err
		}
		pushed := false
		if !opaque && len(refs) > 0 {
			if s.op, pushed, err = s.push(s.op, x, refs, s.scope.cols); err != nil {
				return err
			}
		}
		if !pushed {
			top = append(top, t)
		}
	}
	if len(top) > 0 {
		s.op = &filterOp{in: s.op, conds: top}
	}
	return nil
}

// push gives a condition over the columns cols of op to op or a part of it.
func (s *selectPlan) push(op operator, x Expr, refs map[int]bool, cols []scopeCol) (operator, bool, error) {
	j, ok := op.(*joinOp)
	if !ok {
		if f, ok := op.(*filterOp); ok {
			in, pushed, err := s.push(f.in, x, refs, cols)
			f.in = in
			return f, pushed, err
		}
		if _, ok := op.(*projectOp); ok { // USING has moved the columns
			return op, false, nil
		}
		t, err := s.compile(x, newScope(s.outer, cols))
		if err != nil {
			return nil, false, err
		}
		if t, err = s.toBool(t, "WHERE clause"); err != nil {
			return nil, false, err
		}
		return &filterOp{in: op, conds: []*typed{t}}, true, nil
	}
	left, right := map[int]bool{}, map[int]bool{}
	for i := range refs {
		if i < j.lwidth {
			left[i] = true
		} else {
			right[i-j.lwidth] = true
		}
	}
	var err error
	pushed := false
	switch {
	case len(right) == 0 && (j.kind == joinInner || j.kind == joinLeft):
		j.l, pushed, err = s.push(j.l, x, left, cols[:j.lwidth])
	case len(left) == 0 && (j.kind == joinInner || j.kind == joinRight) && !j.lateral:
		j.r, pushed, err = s.push(j.r, x, right, cols[j.lwidth:])
	case j.kind == joinInner:
		pushed, err = true, s.joinConjunct(j, x, cols)
	}
	return j, pushed, err
}

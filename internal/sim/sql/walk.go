package sql

import "slices"

// walk visits an expression and its parts, subqueries excepted; visit says
// whether to go into the parts.
func walk(x Expr, visit func(Expr) bool) {
	if x == nil || !visit(x) {
		return
	}
	for _, part := range parts(x) {
		walk(part, visit)
	}
}

// parts are the expressions an expression is made of.
func parts(x Expr) []Expr {
	var list []Expr
	switch x := x.(type) {
	case *unaryExpr:
		list = []Expr{x.x}
	case *binaryExpr:
		list = []Expr{x.l, x.r}
	case *castExpr:
		list = []Expr{x.x}
	case *isExpr:
		list = []Expr{x.x}
	case *distinctExpr:
		list = []Expr{x.l, x.r}
	case *betweenExpr:
		list = []Expr{x.x, x.lo, x.hi}
	case *inExpr:
		list = append([]Expr{x.x}, x.list...)
	case *likeExpr:
		list = []Expr{x.x, x.pattern, x.escape}
	case *quantExpr:
		list = []Expr{x.l, x.r}
	case *caseExpr:
		list = []Expr{x.operand, x.els}
		for _, w := range x.whens {
			list = append(list, w.cond, w.result)
		}
	case *callExpr:
		list = append(slices.Clone(x.args), x.filter)
		for _, o := range x.orderBy {
			list = append(list, o.Expr)
		}
	case *sameTypeExpr:
		list = x.args
	case *arrayExpr:
		list = x.elems
	case *subscriptExpr:
		list = []Expr{x.x, x.index}
	case *fieldExpr:
		list = []Expr{x.x}
	case *starExpr:
		list = []Expr{x.of}
	case *rowExpr:
		list = x.elems
	}
	return slices.DeleteFunc(slices.Clone(list), func(e Expr) bool { return e == nil })
}

// subqueries are the queries directly inside an expression.
func subqueries(x Expr, visit func(*Query)) {
	walk(x, func(x Expr) bool {
		var q *Query
		switch x := x.(type) {
		case *inExpr:
			q = x.query
		case *quantExpr:
			q = x.query
		case *existsExpr:
			q = x.query
		case *subqueryExpr:
			q = x.query
		}
		if q != nil {
			visit(q)
		}
		return true
	})
}

// Relations are the names of the relations the query reads, each once, in the
// order of their first mention; common table expressions are left out.
func (q *Query) Relations() []Name {
	var list []Name
	seen := map[string]bool{}
	q.relations(nil, func(n Name) {
		if key := n.String(); !seen[key] {
			seen[key] = true
			list = append(list, n)
		}
	})
	return list
}

// Constant says whether the query reads no relation.
func (q *Query) Constant() bool { return len(q.Relations()) == 0 }

func (q *Query) relations(ctes []string, found func(Name)) {
	for _, c := range q.with {
		c.query.relations(ctes, found)
		ctes = append(slices.Clone(ctes), c.name)
	}
	inExprs := func(list ...Expr) {
		for _, x := range list {
			if x != nil {
				subqueries(x, func(q *Query) { q.relations(ctes, found) })
			}
		}
	}
	setRelations(q.body, ctes, found, inExprs)
	for _, o := range q.orderBy {
		inExprs(o.Expr)
	}
	inExprs(q.limit, q.offset)
}

func setRelations(body setExpr, ctes []string, found func(Name), inExprs func(...Expr)) {
	switch b := body.(type) {
	case *Query:
		b.relations(ctes, found)
	case *setOp:
		setRelations(b.l, ctes, found, inExprs)
		setRelations(b.r, ctes, found, inExprs)
	case *valuesBody:
		for _, row := range b.rows {
			inExprs(row...)
		}
	case *selectBody:
		for _, t := range b.from {
			tableRelations(t, ctes, found, inExprs)
		}
		for _, item := range b.items {
			inExprs(item.expr)
		}
		inExprs(b.where, b.having)
		inExprs(b.groupBy...)
		inExprs(b.distinctOn...)
	}
}

func tableRelations(t tableExpr, ctes []string, found func(Name), inExprs func(...Expr)) {
	switch t := t.(type) {
	case *tableRef:
		if len(t.name) > 1 || !slices.Contains(ctes, t.name[0]) {
			found(t.name)
		}
	case *tableSub:
		t.query.relations(ctes, found)
	case *tableFunc:
		inExprs(t.call)
	case *tableJoin:
		tableRelations(t.l, ctes, found, inExprs)
		tableRelations(t.r, ctes, found, inExprs)
		inExprs(t.on)
	}
}

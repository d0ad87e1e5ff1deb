package sql

import (
	"strconv"
	"strings"
)

// columnKey is the canonical form of a column reference.
func columnKey(depth, index int) string {
	return "#" + strconv.Itoa(depth) + "." + strconv.Itoa(index)
}

// exprKey is a canonical form of an expression: equal for expressions that
// mean the same in a scope.
func (p *planner) exprKey(x Expr, s *scope) string {
	switch x := x.(type) {
	case *colExpr:
		// Asking must not count as a use.
		saved, refs := p.minLevel, p.refs
		p.refs = nil
		r, err := p.resolve(s, x.parts)
		p.minLevel, p.refs = saved, refs
		if err != nil {
			return "?" + x.parts.String()
		}
		return columnKey(r.depth, r.index)
	case *litExpr, *paramExpr:
		return x.Text()
	case *castExpr:
		return "(" + p.exprKey(x.x, s) + ")::" + x.t.key()
	case *unaryExpr:
		return x.op + "(" + p.exprKey(x.x, s) + ")"
	case *binaryExpr:
		return "(" + p.exprKey(x.l, s) + x.op + p.exprKey(x.r, s) + ")"
	case *sameTypeExpr:
		return x.name + p.exprKeys(x.args, s)
	case *callExpr:
		if x.orderBy == nil && x.filter == nil {
			return x.name.Item() + map[bool]string{true: " distinct"}[x.distinct] + map[bool]string{true: "*"}[x.star] + p.exprKeys(x.args, s)
		}
	}
	return "text " + x.Text()
}

func (p *planner) exprKeys(list []Expr, s *scope) string {
	keys := make([]string, len(list))
	for i, x := range list {
		keys[i] = p.exprKey(x, s)
	}
	return "(" + strings.Join(keys, ",") + ")"
}

func (t typeName) key() string {
	k := t.name
	for _, m := range t.mods {
		k += "," + strconv.FormatInt(m, 10)
	}
	if t.array {
		k += "[]"
	}
	return k + strings.Repeat(" list", t.lists)
}

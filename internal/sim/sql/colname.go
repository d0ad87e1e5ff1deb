package sql

import "strings"

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

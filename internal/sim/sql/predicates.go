package sql

import "strings"

func (p *planner) like(x *likeExpr, s *scope) (*typed, error) {
	args, err := p.compileAll([]Expr{x.x, x.pattern}, s)
	if err != nil {
		return nil, err
	}
	escape := `\`
	if x.escape != nil {
		lit, ok := x.escape.(*litExpr)
		text, isText := "", false
		if ok {
			text, isText = lit.value.(string)
		}
		if !isText || len(text) > 1 {
			return nil, refuse("LIKE … ESCAPE is supported with a literal of at most one byte")
		}
		escape = text
	}
	name := "~~"
	if x.fold {
		name = "~~*"
	}
	return p.likeTyped(name, args[0], args[1], escape, x.fold, x.not)
}

func (p *planner) likeTyped(name string, l, r *typed, escape string, fold, not bool) (*typed, error) {
	lt, lok := p.as(l, Text, castImplicit)
	rt, rok := p.as(r, Text, castImplicit)
	if !lok || !rok {
		return nil, noOperator(name, p.settled(l).typ, p.settled(r).typ)
	}
	return strict(Bool, []*typed{lt, rt}, func(_ *env, args []Value) (Value, error) {
		text, pattern := args[0].(string), args[1].(string)
		if fold {
			text, pattern = strings.ToLower(text), strings.ToLower(pattern)
		}
		return likeMatch([]rune(text), []rune(pattern), escape) != not, nil
	}), nil
}

// likeMatch matches SQL's LIKE: % any run, _ any one character.
func likeMatch(text, pattern []rune, escape string) bool {
	ti, pi := 0, 0
	starT, starP := -1, -1 // where to go on when the last % takes one more
	for ti < len(text) {
		switch {
		case pi < len(pattern) && pattern[pi] == '%':
			starT, starP = ti, pi+1
			pi++
			continue
		case pi < len(pattern) && escape != "" && string(pattern[pi]) == escape && pi+1 < len(pattern):
			if pattern[pi+1] == text[ti] {
				ti, pi = ti+1, pi+2
				continue
			}
		case pi < len(pattern) && (pattern[pi] == '_' || pattern[pi] == text[ti]):
			ti, pi = ti+1, pi+1
			continue
		}
		if starP < 0 {
			return false
		}
		starT++
		ti, pi = starT, starP
	}
	for pi < len(pattern) && pattern[pi] == '%' {
		pi++
	}
	return pi == len(pattern)
}

func (p *planner) in(x *inExpr, s *scope) (*typed, error) {
	if x.query != nil {
		return p.inQuery(x, s)
	}
	l, err := p.compile(x.x, s)
	if err != nil {
		return nil, err
	}
	items, err := p.compileAll(x.list, s)
	if err != nil {
		return nil, err
	}
	// The left side meets every item on its own, as in a chain of ORs.
	lefts, rights := make([]*typed, len(items)), make([]*typed, len(items))
	nullable := l.nullable
	for i, item := range items {
		if lefts[i], rights[i], err = p.pair("=", l, item); err != nil {
			return nil, err
		}
		nullable = nullable || rights[i].nullable
	}
	not := x.not
	return &typed{typ: Bool, nullable: nullable, eval: func(e *env, f *frame) (Value, error) {
		unknown := false
		for i := range rights {
			vals, err := evalAll(e, f, []*typed{lefts[i], rights[i]})
			if err != nil {
				return nil, err
			}
			switch {
			case vals[0] == nil || vals[1] == nil:
				unknown = true
			case compareValues(vals[0], vals[1]) == 0:
				return !not, nil
			}
		}
		if unknown {
			return nil, nil
		}
		return not, nil
	}}, nil
}

// one is the single column of a subquery.
func (p *planner) one(q *Query, s *scope) (*subplan, error) {
	sub, err := p.subquery(q, s)
	if err != nil {
		return nil, err
	}
	if len(sub.cols) != 1 {
		return nil, planError("Expected subselect to return 1 column, got %d columns", len(sub.cols))
	}
	return sub, nil
}

// valueSet is the result of an uncorrelated IN subquery, by key.
type valueSet struct {
	keys    map[string]bool
	hasNull bool
}

func (p *planner) inQuery(x *inExpr, s *scope) (*typed, error) {
	l, err := p.compile(x.x, s)
	if err != nil {
		return nil, err
	}
	sub, err := p.one(x.query, s)
	if err != nil {
		return nil, err
	}
	col := sub.cols[0]
	elem := &typed{typ: col.Type, nullable: col.Nullable, eval: func(_ *env, f *frame) (Value, error) { return f.row[0], nil }}
	l, elem, err = p.pair("=", l, elem)
	if err != nil {
		return nil, err
	}
	load := func(e *env, f *frame) (*valueSet, error) {
		if set, ok := e.memo[elem].(*valueSet); ok {
			return set, nil
		}
		rows, err := sub.rows(e, f)
		if err != nil {
			return nil, err
		}
		set := &valueSet{keys: make(map[string]bool, len(rows))}
		for _, row := range rows {
			v, err := elem.eval(e, &frame{row: row})
			if err != nil {
				return nil, err
			}
			if v == nil {
				set.hasNull = true
			} else {
				set.keys[string(appendKey(nil, v))] = true
			}
		}
		if !sub.correlated {
			e.memo[elem] = set
		}
		return set, nil
	}
	not := x.not
	return &typed{typ: Bool, nullable: l.nullable || col.Nullable, eval: func(e *env, f *frame) (Value, error) {
		set, err := load(e, f)
		if err != nil {
			return nil, err
		}
		v, err := l.eval(e, f)
		switch {
		case err != nil:
			return nil, err
		case len(set.keys) == 0 && !set.hasNull:
			return not, nil
		case v == nil:
			return nil, nil
		case set.keys[string(appendKey(nil, v))]:
			return !not, nil
		case set.hasNull:
			return nil, nil
		}
		return not, nil
	}}, nil
}

// quantified compiles l op ANY (…) and l op ALL (…).
func (p *planner) quantified(x *quantExpr, s *scope) (*typed, error) {
	l, err := p.compile(x.l, s)
	if err != nil {
		return nil, err
	}
	var items func(e *env, f *frame) ([]Value, error)
	elem := &typed{nullable: true, eval: func(_ *env, f *frame) (Value, error) { return f.row[0], nil }}
	if x.query != nil {
		sub, err := p.one(x.query, s)
		if err != nil {
			return nil, err
		}
		elem.typ = sub.cols[0].Type
		items = func(e *env, f *frame) ([]Value, error) {
			rows, err := sub.rows(e, f)
			out := make([]Value, len(rows))
			for i, row := range rows {
				out[i] = row[0]
			}
			return out, err
		}
	} else {
		list, err := p.compile(x.r, s)
		if err != nil {
			return nil, err
		}
		if list.untyped() {
			list = p.decide(list, ArrayOf(p.settled(l).typ))
		}
		if list.typ.Elem == nil {
			return nil, planError("%s requires array on right side", map[bool]string{true: "ALL", false: "ANY"}[x.all])
		}
		elem.typ = *list.typ.Elem
		items = func(e *env, f *frame) ([]Value, error) {
			v, err := list.eval(e, f)
			if v == nil || err != nil {
				return nil, errOr(err, errNullList)
			}
			return v.([]Value), nil
		}
	}
	return p.quantify(x, l, elem, items)
}

// errNullList marks a NULL in place of a list; the result is then NULL.
var errNullList = &Error{Message: "null list"}

func errOr(err error, other error) error {
	if err != nil {
		return err
	}
	return other
}

// quantify folds "left op element" over the items with AND or OR.
func (p *planner) quantify(x *quantExpr, l, elem *typed, items func(*env, *frame) ([]Value, error)) (*typed, error) {
	// Both sides live in a row of two: the element and the left value.
	left := &typed{typ: l.typ, nullable: l.nullable, eval: func(_ *env, f *frame) (Value, error) { return f.row[1], nil }}
	if l.untyped() {
		l = p.decide(l, operandType(elem.typ))
		left.typ = l.typ
	}
	test, err := p.binaryTyped(x.op, left, elem)
	if err != nil {
		return nil, err
	}
	if test.typ.OID != OIDBool {
		return nil, planError("operator %s does not yield a boolean", x.op)
	}
	all := x.all
	return &typed{typ: Bool, nullable: true, eval: func(e *env, f *frame) (Value, error) {
		list, err := items(e, f)
		if err == errNullList {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		v, err := l.eval(e, f)
		if err != nil {
			return nil, err
		}
		unknown := false
		for _, item := range list {
			r, err := test.eval(e, &frame{row: []Value{item, v}})
			switch {
			case err != nil:
				return nil, err
			case r == nil:
				unknown = true
			case r.(bool) != all:
				return !all, nil
			}
		}
		if unknown {
			return nil, nil
		}
		return all, nil
	}}, nil
}

func (p *planner) exists(x *existsExpr, s *scope) (*typed, error) {
	sub, err := p.subquery(x.query, s)
	if err != nil {
		return nil, err
	}
	return &typed{typ: Bool, eval: func(e *env, f *frame) (Value, error) {
		rows, err := sub.rows(e, f)
		if err != nil {
			return nil, err
		}
		return len(rows) > 0, nil
	}}, nil
}

func (p *planner) scalarSubquery(x *subqueryExpr, s *scope) (*typed, error) {
	sub, err := p.one(x.query, s)
	if err != nil {
		return nil, err
	}
	t := sub.cols[0].Type
	if x.kind == "" {
		return &typed{typ: t, nullable: true, eval: func(e *env, f *frame) (Value, error) {
			rows, err := sub.rows(e, f)
			switch {
			case err != nil:
				return nil, err
			case len(rows) == 0:
				return nil, nil
			case len(rows) > 1:
				return nil, evalError("21000", "more than one record produced in subquery")
			}
			return rows[0][0], nil
		}}, nil
	}
	typ := ListOf(t)
	if x.kind == "ARRAY" {
		typ = ArrayOf(t)
	}
	return &typed{typ: typ, eval: func(e *env, f *frame) (Value, error) {
		rows, err := sub.rows(e, f)
		if err != nil {
			return nil, err
		}
		list := make([]Value, len(rows))
		for i, row := range rows {
			list[i] = row[0]
		}
		return list, nil
	}}, nil
}

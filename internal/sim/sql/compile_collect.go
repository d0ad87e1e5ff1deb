package sql

import (
	"slices"
	"strings"
)

func (p *planner) caseWhen(x *caseExpr, s *scope) (*typed, error) {
	conds := make([]*typed, len(x.whens))
	results := make([]*typed, 0, len(x.whens)+1)
	for i, w := range x.whens {
		cond := w.cond
		if x.operand != nil {
			cond = &binaryExpr{op: "=", l: x.operand, r: w.cond}
		}
		c, err := p.compile(cond, s)
		if err != nil {
			return nil, err
		}
		if conds[i], err = p.toBool(c, "CASE expression"); err != nil {
			return nil, err
		}
		r, err := p.compile(w.result, s)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	els, err := literal(nil)
	if x.els != nil {
		els, err = p.compile(x.els, s)
	}
	if err != nil {
		return nil, err
	}
	results, t, err := p.unify(append(results, els), "CASE")
	if err != nil {
		return nil, err
	}
	return &typed{typ: t, nullable: anyNullable(results...), eval: func(e *env, f *frame) (Value, error) {
		for i, c := range conds {
			v, err := c.eval(e, f)
			if err != nil {
				return nil, err
			}
			if v == true {
				return results[i].eval(e, f)
			}
		}
		return results[len(results)-1].eval(e, f)
	}}, nil
}

func (p *planner) sameType(x *sameTypeExpr, s *scope) (*typed, error) {
	args, err := p.compileAll(x.args, s)
	if err != nil {
		return nil, err
	}
	if x.name == "nullif" {
		return p.nullIf(args)
	}
	args, t, err := p.unify(args, strings.ToUpper(x.name))
	if err != nil {
		return nil, err
	}
	allNullable := !slices.ContainsFunc(args, func(a *typed) bool { return !a.nullable })
	out := &typed{typ: t, nullable: allNullable}
	want := 0
	switch x.name {
	case "greatest":
		want = 1
	case "least":
		want = -1
	}
	out.eval = func(e *env, f *frame) (Value, error) {
		var best Value
		for _, a := range args {
			v, err := a.eval(e, f)
			if err != nil {
				return nil, err
			}
			switch {
			case v == nil:
			case want == 0:
				return v, nil
			case best == nil || compareValues(v, best)*want > 0:
				best = v
			}
		}
		return best, nil
	}
	return out, nil
}

func (p *planner) nullIf(args []*typed) (*typed, error) {
	l, r, err := p.pair("=", args[0], args[1])
	if err != nil {
		return nil, err
	}
	out := args[0]
	if out.untyped() {
		out = l
	}
	return &typed{typ: out.typ, nullable: true, eval: func(e *env, f *frame) (Value, error) {
		vals, err := evalAll(e, f, []*typed{l, r, out})
		if err != nil {
			return nil, err
		}
		if vals[0] != nil && vals[1] != nil && compareValues(vals[0], vals[1]) == 0 {
			return nil, nil
		}
		return vals[2], nil
	}}, nil
}

func (p *planner) array(x *arrayExpr, s *scope) (*typed, error) {
	what := "ARRAY"
	if x.list {
		what = "LIST"
	}
	if len(x.elems) == 0 {
		e := planError("cannot determine type of empty %s", strings.ToLower(what))
		e.Hint = "Explicitly cast the " + strings.ToLower(what) + " to the desired type. Example: " + what + "[]::int" + map[bool]string{true: " list", false: "[]"}[x.list]
		return nil, e
	}
	elems, err := p.compileAll(x.elems, s)
	if err != nil {
		return nil, err
	}
	elems, t, err := p.unify(elems, what)
	if err != nil {
		return nil, err
	}
	typ := ArrayOf(t)
	if x.list {
		typ = ListOf(t)
	} else if t.isArray() {
		return nil, refuse("arrays of several dimensions are not supported")
	}
	return &typed{typ: typ, eval: func(e *env, f *frame) (Value, error) {
		list, err := evalAll(e, f, elems)
		if err != nil {
			return nil, err
		}
		return list, nil
	}}, nil
}

func (p *planner) subscript(x *subscriptExpr, s *scope) (*typed, error) {
	in, err := p.compile(x.x, s)
	if err != nil {
		return nil, err
	}
	index, err := p.compile(x.index, s)
	if err != nil {
		return nil, err
	}
	if in.typ.OID == OIDJSONB {
		return p.binaryTyped("->", in, index)
	}
	if in.typ.Elem == nil {
		return nil, planError("cannot subscript type %s", in.typ)
	}
	index, ok := p.as(index, Int8, castImplicit)
	if !ok {
		return nil, planError("subscript must have type integer")
	}
	out := strict(*in.typ.Elem, []*typed{in, index}, func(_ *env, args []Value) (Value, error) {
		list, i := args[0].([]Value), args[1].(int64)
		if i < 1 || i > int64(len(list)) {
			return nil, nil
		}
		return list[i-1], nil
	})
	out.nullable = true
	return out, nil
}

func (p *planner) field(x *fieldExpr, s *scope) (*typed, error) {
	if call, ok := x.x.(*callExpr); ok {
		for _, c := range s.srf {
			if c.expr == call {
				if i := slices.IndexFunc(c.cols, func(c Column) bool { return c.Name == x.field }); i >= 0 {
					return columnAt(0, c.at+i, c.cols[i]), nil
				}
				return nil, planError("field %s not found in data type record", x.field)
			}
		}
	}
	return nil, refuse("field access on this expression is not supported: %s", x.Text())
}

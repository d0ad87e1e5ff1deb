package sql

import "strconv"

func itoa(n int) string { return strconv.Itoa(n) }

// compile resolves an expression in a scope.
func (p *planner) compile(x Expr, s *scope) (*typed, error) {
	if p.depth++; p.depth > 4*maxNesting {
		return nil, refuse("expressions nested this deep are not supported")
	}
	defer func() { p.depth-- }()
	if s.agg != nil {
		if t, err := p.compileGrouped(x, s); t != nil || err != nil {
			return t, err
		}
	}
	switch x := x.(type) {
	case *litExpr:
		return literal(x.value)
	case *colExpr:
		return p.column(x, s)
	case *paramExpr:
		return p.parameter(x.n), nil
	case *castExpr:
		return p.cast(x, s)
	case *unaryExpr:
		return p.unary(x, s)
	case *binaryExpr:
		return p.binary(x, s)
	case *isExpr:
		return p.is(x, s)
	case *distinctExpr:
		return p.distinctFrom(x, s)
	case *betweenExpr:
		return p.between(x, s)
	case *likeExpr:
		return p.like(x, s)
	case *inExpr:
		return p.in(x, s)
	case *quantExpr:
		return p.quantified(x, s)
	case *existsExpr:
		return p.exists(x, s)
	case *subqueryExpr:
		return p.scalarSubquery(x, s)
	case *caseExpr:
		return p.caseWhen(x, s)
	case *sameTypeExpr:
		return p.sameType(x, s)
	case *arrayExpr:
		return p.array(x, s)
	case *subscriptExpr:
		return p.subscript(x, s)
	case *callExpr:
		return p.call(x, s)
	case *fieldExpr:
		return p.field(x, s)
	case *starExpr:
		return nil, planError("'*' is only allowed in a select list")
	case *rowExpr:
		return nil, refuse("row values are not supported")
	}
	return nil, refuse("this expression is not supported: %s", x.Text())
}

func (p *planner) compileAll(list []Expr, s *scope) ([]*typed, error) {
	out := make([]*typed, len(list))
	for i, x := range list {
		t, err := p.compile(x, s)
		if err != nil {
			return nil, err
		}
		out[i] = t
	}
	return out, nil
}

func literal(v Value) (*typed, error) {
	switch v := v.(type) {
	case nil:
		return &typed{null: true, nullable: true, constant: true, eval: func(*env, *frame) (Value, error) { return nil, nil }}, nil
	case bool:
		return constant(v, Bool), nil
	case Interval:
		return constant(v, IntervalT), nil
	case numberLit:
		return numberLiteral(string(v))
	case string:
		return &typed{text: &v, constant: true}, nil
	}
	return nil, refuse("this literal is not supported")
}

// numberLiteral is int4, int8 or numeric, whichever fits first.
func numberLiteral(s string) (*typed, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n == int64(int32(n)) {
			return constant(n, Int4), nil
		}
		return constant(n, Int8), nil
	}
	n, err := ParseNumeric(s)
	if err != nil {
		return nil, err
	}
	return constant(n, NumericT), nil
}

// bareFunctions are written without parentheses.
var bareFunctions = map[string]string{
	"current_user": "current_user", "session_user": "session_user", "user": "current_user", "current_role": "current_role",
	"current_catalog": "current_database", "current_schema": "current_schema", "current_timestamp": "current_timestamp",
}

func (p *planner) column(x *colExpr, s *scope) (*typed, error) {
	if fn, ok := bareFunctions[x.parts[0]]; ok && x.bare {
		return p.call(&callExpr{name: Name{fn}}, s)
	}
	r, err := p.resolve(s, x.parts)
	if err != nil {
		return nil, err
	}
	return columnAt(r.depth, r.index, r.col.Column), nil
}

func columnAt(depth, index int, c Column) *typed {
	t := &typed{typ: c.Type, nullable: c.Nullable}
	switch depth {
	case 0:
		t.eval = func(_ *env, f *frame) (Value, error) { return f.row[index], nil }
	default:
		t.eval = func(_ *env, f *frame) (Value, error) {
			for range depth {
				f = f.outer
			}
			return f.row[index], nil
		}
	}
	return t
}

func (p *planner) parameter(n int) *typed {
	for len(p.params) < n {
		p.params = append(p.params, 0)
	}
	if oid := p.params[n-1]; oid != 0 {
		if t, ok := TypeByOID(oid); ok {
			return paramOf(n, t)
		}
	}
	return &typed{param: n, nullable: true, eval: paramOf(n, Text).eval}
}

func (p *planner) cast(x *castExpr, s *scope) (*typed, error) {
	t, err := x.t.resolve()
	if err != nil {
		return nil, err
	}
	if a, ok := x.x.(*arrayExpr); ok && len(a.elems) == 0 && t.Elem != nil {
		return constant([]Value{}, t), nil
	}
	in, err := p.compile(x.x, s)
	if err != nil {
		return nil, err
	}
	out, ok := p.as(in, t, castExplicit)
	if !ok {
		return nil, planError("CAST does not support casting from %s to %s", in.typ, t)
	}
	mods, err := x.t.applyMods()
	if err != nil {
		return nil, err
	}
	if mods != nil {
		out = strict(out.typ, []*typed{out}, func(_ *env, a []Value) (Value, error) { return mods(a[0]) })
	}
	return out, nil
}

func (p *planner) is(x *isExpr, s *scope) (*typed, error) {
	in, err := p.compile(x.x, s)
	if err != nil {
		return nil, err
	}
	if x.what != "NULL" {
		if in, err = p.toBool(in, "IS "+x.what+" argument"); err != nil {
			return nil, err
		}
	} else {
		in = p.settled(in)
	}
	test := func(v Value) bool { return v == nil } // NULL and UNKNOWN
	switch x.what {
	case "TRUE":
		test = func(v Value) bool { return v == true }
	case "FALSE":
		test = func(v Value) bool { return v == false }
	}
	not := x.not
	return &typed{typ: Bool, eval: func(e *env, f *frame) (Value, error) {
		v, err := in.eval(e, f)
		if err != nil {
			return nil, err
		}
		return test(v) != not, nil
	}}, nil
}

func (p *planner) distinctFrom(x *distinctExpr, s *scope) (*typed, error) {
	l, r, err := p.comparable("IS DISTINCT FROM", x.l, x.r, s)
	if err != nil {
		return nil, err
	}
	not := x.not
	return &typed{typ: Bool, eval: func(e *env, f *frame) (Value, error) {
		vals, err := evalAll(e, f, []*typed{l, r})
		if err != nil {
			return nil, err
		}
		return (compareNulls(vals[0], vals[1], false) != 0) != not, nil
	}}, nil
}

// comparable compiles two expressions and brings them to one type.
func (p *planner) comparable(op string, lx, rx Expr, s *scope) (l, r *typed, err error) {
	if l, err = p.compile(lx, s); err != nil {
		return nil, nil, err
	}
	if r, err = p.compile(rx, s); err != nil {
		return nil, nil, err
	}
	return p.pair(op, l, r)
}

func (p *planner) pair(op string, l, r *typed) (*typed, *typed, error) {
	if l.untyped() && r.untyped() {
		return p.decide(l, Text), p.decide(r, Text), nil
	}
	if l.untyped() {
		return p.decide(l, operandType(r.typ)), r, nil
	}
	if r.untyped() {
		return l, p.decide(r, operandType(l.typ)), nil
	}
	t, ok := commonType(l.typ, r.typ)
	if !ok {
		return nil, nil, noOperator(op, l.typ, r.typ)
	}
	lc, lok := p.as(l, t, castImplicit)
	rc, rok := p.as(r, t, castImplicit)
	if !lok || !rok {
		lc, rc = convert(l, t, findCast(l.typ, t, castExplicit)), convert(r, t, findCast(r.typ, t, castExplicit))
	}
	return lc, rc, nil
}

// operandType is what an untyped operand becomes beside one of type t.
func operandType(t Type) Type {
	if t.OID == OIDVarchar || t.OID == OIDName {
		return Text
	}
	return t
}

func noOperator(op string, types ...Type) *Error {
	names := typeList(types[:1]) + " " + op
	if len(types) == 1 {
		names = op + " " + types[0].String()
	} else {
		names += " " + types[1].String()
	}
	e := planError("operator does not exist: %s", names)
	e.Hint = "No operator matches the given name and argument types. You might need to add explicit type casts."
	return e
}

func (p *planner) between(x *betweenExpr, s *scope) (*typed, error) {
	lo := &binaryExpr{op: ">=", l: x.x, r: x.lo}
	hi := &binaryExpr{op: "<=", l: x.x, r: x.hi}
	var both Expr = &binaryExpr{op: "AND", l: lo, r: hi}
	if x.not {
		both = &unaryExpr{op: "NOT", x: both}
	}
	return p.compile(both, s)
}

package sql

// typed is an expression whose names and type are resolved.
type typed struct {
	typ      Type // OID 0: an untyped literal, NULL or parameter
	nullable bool
	eval     evalFunc
	// Exactly one of these describes an untyped expression.
	text  *string // string literal
	null  bool
	param int
	// constant marks literals, so that patterns need compiling only once.
	constant bool
}

func (t *typed) untyped() bool { return t.typ.OID == 0 }

func constant(v Value, t Type) *typed {
	return &typed{typ: t, nullable: v == nil, constant: true, eval: func(*env, *frame) (Value, error) { return v, nil }}
}

// as converts to a type at the given level; a nil error means it is of type t.
func (p *planner) as(x *typed, t Type, level castLevel) (*typed, bool) {
	if x.untyped() {
		return p.decide(x, t), true
	}
	f := findCast(x.typ, t, level)
	if f == nil {
		return nil, false
	}
	return convert(x, t, f), true
}

// convert applies a conversion; the identity costs nothing.
func convert(x *typed, t Type, f castFn) *typed {
	if x.typ.same(t) {
		return x
	}
	out := *x
	out.typ = t
	in := x.eval
	out.eval = func(e *env, fr *frame) (Value, error) {
		v, err := in(e, fr)
		if v == nil || err != nil {
			return nil, err
		}
		return f(v)
	}
	return &out
}

// decide gives an untyped expression its type.
func (p *planner) decide(x *typed, t Type) *typed {
	switch {
	case x.null:
		return constant(nil, t)
	case x.text != nil:
		v, err := parseText(*x.text, t)
		if err != nil {
			// The server finds this when it evaluates, after the description.
			return &typed{typ: t, eval: func(*env, *frame) (Value, error) { return nil, err }}
		}
		return constant(v, t)
	}
	n := x.param
	if p.params[n-1] == 0 {
		p.params[n-1] = t.OID
		return paramOf(n, t)
	}
	return p.decideKnown(n, t)
}

// decideKnown converts a parameter whose type an earlier use has decided.
func (p *planner) decideKnown(n int, t Type) *typed {
	have, ok := TypeByOID(p.params[n-1])
	if !ok {
		have = t
	}
	x := paramOf(n, have)
	f := findCast(have, t, castExplicit)
	if f == nil {
		return x
	}
	return convert(x, t, f)
}

func paramOf(n int, t Type) *typed {
	return &typed{typ: t, nullable: true, eval: func(e *env, _ *frame) (Value, error) {
		if n > len(e.args) {
			return nil, &Error{Code: "42P02", Message: "there is no parameter $" + itoa(n)}
		}
		return e.args[n-1], nil
	}}
}

// settled gives an expression that is still untyped the type text.
func (p *planner) settled(x *typed) *typed {
	if x.untyped() {
		return p.decide(x, Text)
	}
	return x
}

// toBool is for conditions; what names the clause.
func (p *planner) toBool(x *typed, what string) (*typed, error) {
	if x.untyped() {
		return p.decide(x, Bool), nil
	}
	if x.typ.OID != OIDBool {
		return nil, planError("%s must have type boolean, not type %s", what, x.typ)
	}
	return x, nil
}

// unify converts all to their common type; what names the construct in
// "CASE types integer and text cannot be matched".
func (p *planner) unify(list []*typed, what string) ([]*typed, Type, error) {
	var t Type
	for _, x := range list {
		switch {
		case x.untyped():
		case t.OID == 0:
			t = x.typ
		default:
			c, ok := commonType(t, x.typ)
			if !ok {
				return nil, Type{}, planError("%s types %s and %s cannot be matched", what, t, x.typ)
			}
			t = c
		}
	}
	if t.OID == 0 {
		t = Text
	}
	out := make([]*typed, len(list))
	for i, x := range list {
		c, ok := p.as(x, t, castImplicit)
		if !ok {
			return nil, Type{}, planError("%s types %s and %s cannot be matched", what, t, x.typ)
		}
		out[i] = c
	}
	return out, t, nil
}

func anyNullable(list ...*typed) bool {
	for _, x := range list {
		if x.nullable {
			return true
		}
	}
	return false
}

func evalAll(e *env, f *frame, list []*typed) ([]Value, error) {
	out := make([]Value, len(list))
	for i, x := range list {
		v, err := x.eval(e, f)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// strict makes an expression that is NULL when an argument is, without
// computing further.
func strict(t Type, args []*typed, f func(e *env, args []Value) (Value, error)) *typed {
	return &typed{typ: t, nullable: anyNullable(args...), eval: func(e *env, fr *frame) (Value, error) {
		vals := make([]Value, len(args))
		null := false
		for i, x := range args {
			v, err := x.eval(e, fr)
			if err != nil {
				return nil, err
			}
			vals[i] = v
			null = null || v == nil
		}
		if null {
			return nil, nil
		}
		return f(e, vals)
	}}
}

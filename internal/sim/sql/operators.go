package sql

import (
	"math"
	"math/bits"
	"regexp"
	"slices"
)

func (p *planner) unary(x *unaryExpr, s *scope) (*typed, error) {
	in, err := p.compile(x.x, s)
	if err != nil {
		return nil, err
	}
	if x.op == "NOT" {
		if in, err = p.toBool(in, "NOT argument"); err != nil {
			return nil, err
		}
		return strict(Bool, []*typed{in}, func(_ *env, a []Value) (Value, error) { return !a[0].(bool), nil }), nil
	}
	if in.untyped() {
		in = p.decide(in, Float8)
	}
	switch {
	case x.op == "~":
		return nil, refuse("bitwise operators are not supported")
	case in.typ.class() != classNumber && in.typ.OID != OIDInterval:
		return nil, noOperator(x.op, in.typ)
	case x.op == "+":
		return in, nil
	}
	t := in.typ
	out := strict(t, []*typed{in}, func(_ *env, a []Value) (Value, error) {
		switch v := a[0].(type) {
		case int64:
			return checkedInt(-v, v != math.MinInt64, t)
		case float64:
			return -v, nil
		case Numeric:
			n, err := Numeric{}.Sub(v)
			return valueOr(n, err)
		default:
			return v.(Interval).neg(), nil
		}
	})
	out.constant = in.constant
	return out, nil
}

func (p *planner) binary(x *binaryExpr, s *scope) (*typed, error) {
	l, err := p.compile(x.l, s)
	if err != nil {
		return nil, err
	}
	r, err := p.compile(x.r, s)
	if err != nil {
		return nil, err
	}
	if x.op == "AND" || x.op == "OR" {
		return p.logic(x.op, l, r)
	}
	return p.binaryTyped(x.op, l, r)
}

func (p *planner) logic(op string, l, r *typed) (*typed, error) {
	l, err := p.toBool(l, op+" argument")
	if err != nil {
		return nil, err
	}
	if r, err = p.toBool(r, op+" argument"); err != nil {
		return nil, err
	}
	decisive := op == "OR" // the value that decides alone
	return &typed{typ: Bool, nullable: anyNullable(l, r), eval: func(e *env, f *frame) (Value, error) {
		a, err := l.eval(e, f)
		if err != nil {
			return nil, err
		}
		if a == decisive {
			return decisive, nil
		}
		b, err := r.eval(e, f)
		if err != nil {
			return nil, err
		}
		switch {
		case b == decisive:
			return decisive, nil
		case a == nil || b == nil:
			return nil, nil
		}
		return !decisive, nil
	}}, nil
}

// comparisons by what compareValues may say.
var comparisons = map[string]func(c int) bool{
	"=": func(c int) bool { return c == 0 }, "<>": func(c int) bool { return c != 0 },
	"<": func(c int) bool { return c < 0 }, "<=": func(c int) bool { return c <= 0 },
	">": func(c int) bool { return c > 0 }, ">=": func(c int) bool { return c >= 0 },
}

func (p *planner) binaryTyped(op string, l, r *typed) (*typed, error) {
	if test, ok := comparisons[op]; ok {
		l, r, err := p.pair(op, l, r)
		if err != nil {
			return nil, err
		}
		return strict(Bool, []*typed{l, r}, func(_ *env, a []Value) (Value, error) {
			return test(compareValues(a[0], a[1])), nil
		}), nil
	}
	switch op {
	case "+", "-", "*", "/", "%":
		return p.arithmetic(op, l, r)
	case "||":
		return p.concat(l, r)
	case "->", "->>", "#>", "#>>", "@>", "<@", "?", "?|", "?&":
		return p.jsonOperator(op, l, r)
	case "~", "~*", "!~", "!~*":
		return p.regex(op, l, r)
	case "~~", "!~~":
		return p.likeTyped(op, l, r, `\`, false, op[0] == '!')
	case "~~*", "!~~*":
		return p.likeTyped(op, l, r, `\`, true, op[0] == '!')
	}
	return nil, refuse("operator %s is not supported", op)
}

func (p *planner) regex(op string, l, r *typed) (*typed, error) {
	lt, lok := p.as(l, Text, castImplicit)
	rt, rok := p.as(r, Text, castImplicit)
	if !lok || !rok {
		return nil, noOperator(op, p.settled(l).typ, p.settled(r).typ)
	}
	flags, not := "", op[0] == '!'
	if op[len(op)-1] == '*' {
		flags = "(?i)"
	}
	var fixed *regexp.Regexp
	if r.text != nil {
		fixed, _ = regexp.Compile(flags + *r.text)
	}
	return strict(Bool, []*typed{lt, rt}, func(_ *env, a []Value) (Value, error) {
		re := fixed
		if re == nil {
			var err error
			if re, err = regexp.Compile(flags + a[1].(string)); err != nil {
				return nil, evalError("2201B", "invalid regular expression: %s", err)
			}
		}
		return re.MatchString(a[0].(string)) != not, nil
	}), nil
}

func (p *planner) concat(l, r *typed) (*typed, error) {
	if l.untyped() && r.untyped() {
		l, r = p.decide(l, Text), p.decide(r, Text)
	}
	list, item := l, r
	if l.typ.Elem == nil {
		list, item = r, l
	}
	switch {
	case list.typ.Elem != nil:
		return p.concatList(l, r, list.typ, item)
	case l.typ.OID == OIDJSONB && (r.untyped() || r.typ.OID == OIDJSONB), r.typ.OID == OIDJSONB && l.untyped():
		return p.concatJSON(l, r)
	}
	isText := func(x *typed) bool { return x.untyped() || x.typ.class() == classString }
	if !isText(l) && !isText(r) {
		return nil, noOperator("||", l.typ, r.typ)
	}
	lt, _ := p.as(l, Text, castExplicit)
	rt, _ := p.as(r, Text, castExplicit)
	return strict(Text, []*typed{lt, rt}, func(_ *env, a []Value) (Value, error) {
		return a[0].(string) + a[1].(string), nil
	}), nil
}

// concatList joins two lists, or a list and an element.
func (p *planner) concatList(l, r *typed, t Type, item *typed) (*typed, error) {
	if item.untyped() && item.text == nil || item.typ.Elem != nil || item.untyped() && item == r && t.isArray() {
		lt, lok := p.as(l, t, castImplicit)
		rt, rok := p.as(r, t, castImplicit)
		if !lok || !rok {
			return nil, noOperator("||", l.typ, r.typ)
		}
		return &typed{typ: t, nullable: l.nullable && r.nullable, eval: func(e *env, f *frame) (Value, error) {
			a, err := evalAll(e, f, []*typed{lt, rt})
			switch {
			case err != nil:
				return nil, err
			case a[0] == nil:
				return a[1], nil
			case a[1] == nil:
				return a[0], nil
			}
			return slices.Concat(a[0].([]Value), a[1].([]Value)), nil
		}}, nil
	}
	elem, ok := p.as(item, *t.Elem, castImplicit)
	if !ok {
		return nil, noOperator("||", l.typ, r.typ)
	}
	first := item == l
	list := r
	if !first {
		list = l
	}
	return &typed{typ: t, eval: func(e *env, f *frame) (Value, error) {
		a, err := evalAll(e, f, []*typed{list, elem})
		if err != nil {
			return nil, err
		}
		have, _ := a[0].([]Value)
		if first {
			return append([]Value{a[1]}, have...), nil
		}
		return append(slices.Clone(have), a[1]), nil
	}}, nil
}

func (p *planner) arithmetic(op string, l, r *typed) (*typed, error) {
	if l.typ.OID == OIDJSONB && op == "-" {
		return p.jsonMinus(l, r)
	}
	if t := p.timeArithmetic(op, l, r); t != nil {
		return t, nil
	}
	if l.untyped() && r.untyped() {
		return nil, noOperator(op, Text, Text)
	}
	l, r, err := p.pair(op, l, r)
	if err != nil {
		return nil, err
	}
	t := l.typ
	if t.class() != classNumber || t.OID == OIDOid {
		return nil, noOperator(op, l.typ, r.typ)
	}
	return strict(t, []*typed{l, r}, func(_ *env, a []Value) (Value, error) {
		switch x := a[0].(type) {
		case int64:
			return intArithmetic(op, x, a[1].(int64), t)
		case float64:
			return floatArithmetic(op, x, a[1].(float64))
		default:
			return numericArithmetic(op, a[0].(Numeric), a[1].(Numeric))
		}
	}), nil
}

func checkedInt(n int64, ok bool, t Type) (Value, error) {
	if !ok || !inRange(n, t) {
		return nil, evalError("22003", "%s out of range", t)
	}
	return n, nil
}

func intArithmetic(op string, a, b int64, t Type) (Value, error) {
	switch op {
	case "+":
		c := a + b
		return checkedInt(c, (c > a) == (b > 0), t)
	case "-":
		c := a - b
		return checkedInt(c, (c < a) == (b > 0), t)
	case "*":
		hi, lo := bits.Mul64(uint64(max(a, -a)), uint64(max(b, -b)))
		return checkedInt(a*b, hi == 0 && lo <= math.MaxInt64 && a != math.MinInt64 && b != math.MinInt64, t)
	}
	if b == 0 {
		return nil, errDivision()
	}
	if op == "/" {
		return checkedInt(a/b, a != math.MinInt64 || b != -1, t)
	}
	return a % b, nil
}

func floatArithmetic(op string, a, b float64) (Value, error) {
	switch op {
	case "+":
		return a + b, nil
	case "-":
		return a - b, nil
	case "*":
		return a * b, nil
	}
	if b == 0 {
		return nil, errDivision()
	}
	if op == "/" {
		return a / b, nil
	}
	return math.Mod(a, b), nil
}

func numericArithmetic(op string, a, b Numeric) (Value, error) {
	var n Numeric
	var err error
	switch op {
	case "+":
		n, err = a.Add(b)
	case "-":
		n, err = a.Sub(b)
	case "*":
		n, err = a.Mul(b)
	case "/":
		n, err = a.Quo(b)
	default:
		n, err = a.Mod(b)
	}
	return valueOr(n, err)
}

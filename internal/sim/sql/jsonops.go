package sql

import "slices"

// jsonOperator compiles the operators of jsonb, and @> and <@ of lists.
func (p *planner) jsonOperator(op string, l, r *typed) (*typed, error) {
	if (op == "@>" || op == "<@") && (l.typ.Elem != nil || r.typ.Elem != nil) {
		return p.contains(op, l, r)
	}
	if l.untyped() && r.typ.OID == OIDJSONB || l.untyped() && r.untyped() {
		l = p.decide(l, JSONB)
	}
	if l.typ.OID != OIDJSONB {
		return nil, noOperator(op, l.typ, p.settled(r).typ)
	}
	want := Text
	switch op {
	case "@>", "<@":
		want = JSONB
	case "#>", "#>>", "?|", "?&":
		want = ArrayOf(Text)
	case "->", "->>":
		if r.typ.isInteger() {
			want = Int8
		}
	}
	rt, ok := p.as(r, want, castImplicit)
	if !ok {
		return nil, noOperator(op, l.typ, r.typ)
	}
	out := Bool
	switch op {
	case "->", "#>":
		out = JSONB
	case "->>", "#>>":
		out = Text
	}
	t := strict(out, []*typed{l, rt}, func(_ *env, a []Value) (Value, error) { return jsonApply(op, a[0].(JSON), a[1]), nil })
	t.nullable = t.nullable || out.OID != OIDBool
	return t, nil
}

func jsonApply(op string, j JSON, arg Value) Value {
	switch op {
	case "@>":
		return jsonContains(j.value(), arg.(JSON).value())
	case "<@":
		return jsonContains(arg.(JSON).value(), j.value())
	case "?":
		return jsonHasKey(j, arg)
	case "?|":
		return slices.ContainsFunc(arg.([]Value), func(k Value) bool { return jsonHasKey(j, k) })
	case "?&":
		return !slices.ContainsFunc(arg.([]Value), func(k Value) bool { return !jsonHasKey(j, k) })
	}
	path := []Value{arg}
	if op[0] == '#' {
		path = arg.([]Value)
	}
	v, ok := any(nil), true
	cur := j
	for _, step := range path {
		if s, isText := step.(string); isText && jsonTypeName(cur.value()) == "array" {
			if n, err := parseInt(s, Int8); err == nil && op[0] == '#' {
				step = n
			}
		}
		if v, ok = jsonGet(cur, step); !ok {
			return nil
		}
		cur = encodeJSON(v)
	}
	if len(path) == 0 {
		v = j.value()
	}
	if op == "->>" || op == "#>>" {
		return jsonText(v)
	}
	return encodeJSON(v)
}

func jsonHasKey(j JSON, key Value) bool {
	k, _ := key.(string)
	switch v := j.value().(type) {
	case map[string]any:
		_, ok := v[k]
		return ok
	case []any:
		return slices.Contains(v, any(k))
	case string:
		return v == k
	}
	return false
}

func (p *planner) jsonMinus(l, r *typed) (*typed, error) {
	want := Text
	if r.typ.isInteger() {
		want = Int8
	}
	rt, ok := p.as(r, want, castImplicit)
	if !ok {
		return nil, noOperator("-", l.typ, r.typ)
	}
	t := strict(JSONB, []*typed{l, rt}, func(_ *env, a []Value) (Value, error) { return jsonRemove(a[0].(JSON), a[1]), nil })
	t.nullable = true
	return t, nil
}

func (p *planner) concatJSON(l, r *typed) (*typed, error) {
	lt, _ := p.as(l, JSONB, castImplicit)
	rt, _ := p.as(r, JSONB, castImplicit)
	t := strict(JSONB, []*typed{lt, rt}, func(_ *env, a []Value) (Value, error) {
		x, y := a[0].(JSON).value(), a[1].(JSON).value()
		if xm, ok := x.(map[string]any); ok {
			if ym, ok := y.(map[string]any); ok {
				for k, v := range ym {
					xm[k] = v
				}
				return encodeJSON(xm), nil
			}
		}
		if _, ok := x.(map[string]any); ok {
			return nil, nil
		}
		if _, ok := y.(map[string]any); ok {
			return nil, nil
		}
		asList := func(v any) []any {
			if l, ok := v.([]any); ok {
				return l
			}
			return []any{v}
		}
		return encodeJSON(slices.Concat(asList(x), asList(y))), nil
	})
	t.nullable = true
	return t, nil
}

// contains compiles @> and <@ of lists and arrays.
func (p *planner) contains(op string, l, r *typed) (*typed, error) {
	l, r, err := p.pair(op, l, r)
	if err != nil {
		return nil, err
	}
	return strict(Bool, []*typed{l, r}, func(_ *env, a []Value) (Value, error) {
		big, small := a[0].([]Value), a[1].([]Value)
		if op == "<@" {
			big, small = small, big
		}
		for _, want := range small {
			found := slices.ContainsFunc(big, func(have Value) bool {
				return want != nil && have != nil && compareValues(have, want) == 0
			})
			if !found {
				return false, nil
			}
		}
		return true, nil
	}), nil
}

package sql

import (
	"slices"
	"time"
)

// variant is one signature of a function.
type variant struct {
	params []Type
	ret    Type
	// fn gets arguments of exactly the parameter types. Unless lax is set
	// none of them is NULL, and a NULL gives NULL.
	fn       func(e *env, args []Value) (Value, error)
	lax      bool
	variadic bool // the last parameter repeats
	nullable bool // NULL is possible from arguments that are not
}

// noFunction is the error for a call that no signature fits. With a name that
// exists the server prints the argument types.
func noFunction(name Name, known bool, args []Type) *Error {
	e := planError("function %s does not exist", rustQuote(name.String()))
	if known {
		e.Message = "function " + name.String() + "(" + typeList(args) + ") does not exist"
	}
	e.Hint = "No function matches the given name and argument types. You might need to add explicit type casts."
	return e
}

// functionName drops the schemas that hold builtins; ok false: another schema.
func functionName(n Name) (string, bool) {
	if len(n) == 1 {
		return n[0], true
	}
	switch n[len(n)-2] {
	case "pg_catalog", "mz_catalog", "mz_internal", "mz_unsafe":
		return n.Item(), true
	}
	return "", false
}

func (p *planner) call(x *callExpr, s *scope) (*typed, error) {
	name, ok := functionName(x.name)
	if !ok {
		return nil, planError("unknown schema '%s'", x.name[len(x.name)-2])
	}
	for _, c := range s.srf {
		if c.expr == x {
			if len(c.cols) != 1 {
				return nil, refuse("a function with several columns is supported as (f(…)).column or f(…).* only")
			}
			return columnAt(0, c.at, c.cols[0]), nil
		}
	}
	if isAggregate(name) {
		return nil, planError("aggregate functions are not allowed here (function pg_catalog.%s)", name)
	}
	if isTableFunction(name) {
		return nil, planError("table functions are not allowed here (function pg_catalog.%s)", name)
	}
	if x.star || x.distinct || x.orderBy != nil || x.filter != nil {
		return nil, planError("function %s is not an aggregate", name)
	}
	args, err := p.compileAll(x.args, s)
	if err != nil {
		return nil, err
	}
	if f, ok := specialFunctions[name]; ok {
		if t, err := f(p, x, args); t != nil || err != nil {
			return t, err
		}
		return nil, noFunction(x.name, true, argTypes(args))
	}
	if variants, ok := sessionFunctions[name]; ok {
		v, args := p.choose(variants, args)
		if v == nil {
			return nil, noFunction(x.name, true, argTypes(args))
		}
		return p.sessionCall(name, v, args), nil
	}
	variants, ok := plainFunctions[name]
	if !ok && refusedFunctions[name] {
		return nil, refuse("function %s is not supported", name)
	}
	if !ok {
		return nil, noFunction(x.name, false, nil)
	}
	v, args := p.choose(variants, args)
	if v == nil {
		return nil, noFunction(x.name, true, argTypes(args))
	}
	return v.apply(args), nil
}

// argTypes are the types for an error message; untyped counts as unknown.
func argTypes(args []*typed) []Type {
	types := make([]Type, len(args))
	for i, a := range args {
		types[i] = a.typ
		if a.untyped() {
			types[i] = Type{Name: "unknown"}
		}
	}
	return types
}

func (v *variant) apply(args []*typed) *typed {
	if v.lax {
		return &typed{typ: v.ret, nullable: v.nullable, eval: func(e *env, f *frame) (Value, error) {
			vals, err := evalAll(e, f, args)
			if err != nil {
				return nil, err
			}
			return v.fn(e, vals)
		}}
	}
	t := strict(v.ret, args, v.fn)
	t.nullable = t.nullable || v.nullable
	return t
}

// param is the type of the i-th parameter.
func (v *variant) param(i int) Type { return v.params[min(i, len(v.params)-1)] }

func (v *variant) takes(n int) bool {
	return n == len(v.params) || v.variadic && n >= len(v.params)
}

// choose finds the variant that needs the fewest conversions and converts the
// arguments for it; nil: none fits.
func (p *planner) choose(variants []variant, args []*typed) (*variant, []*typed) {
	best, bestCost := -1, 0
	for i := range variants {
		v := &variants[i]
		if !v.takes(len(args)) {
			continue
		}
		cost, fits := 0, true
		for j, a := range args {
			want := v.param(j)
			switch {
			case a.untyped():
				if want.class() != classString {
					cost++
				}
			case a.typ.same(want):
			case findCast(a.typ, want, castImplicit) != nil:
				cost += 10
			default:
				fits = false
			}
		}
		if fits && (best < 0 || cost < bestCost) {
			best, bestCost = i, cost
		}
	}
	if best < 0 {
		return nil, args
	}
	v := &variants[best]
	out := make([]*typed, len(args))
	for j, a := range args {
		out[j], _ = p.as(a, v.param(j), castImplicit)
	}
	return v, out
}

// sessionCall leaves a function to the Resolver, once per evaluation when it
// has no arguments.
func (p *planner) sessionCall(name string, v *variant, args []*typed) *typed {
	type memoKey struct{ name string }
	ask := func(e *env, vals []Value) (Value, error) {
		out, handled, err := e.r.Function(name, vals)
		if err != nil {
			return nil, err
		}
		if handled {
			return out, nil
		}
		switch name {
		case "now", "current_timestamp":
			return time.Now().UTC().Truncate(time.Microsecond), nil
		case "mz_now":
			return time.Now().UnixMilli(), nil
		}
		return nil, refuse("function %s is not supported", name)
	}
	if len(args) > 0 {
		t := strict(v.ret, args, ask)
		t.nullable = t.nullable || v.nullable
		return t
	}
	return &typed{typ: v.ret, nullable: v.nullable, eval: func(e *env, _ *frame) (Value, error) {
		if out, ok := e.memo[memoKey{name}]; ok {
			return out, nil
		}
		out, err := ask(e, nil)
		if err == nil {
			e.memo[memoKey{name}] = out
		}
		return out, err
	}}
}

// refusedFunctions exist on the server and not here; all others are reported
// as the server reports a function it does not know.
var refusedFunctions = wordSet(`acos acosh age array_cat array_fill array_lower array_remove array_upper ascii asin asinh
atan atanh bit_count bit_length cbrt chr constant_time_eq convert_from cos cosh cot crc32 csv_extract date_bin date_diff
datediff decode degrees digest exp format get_bit get_byte hmac justify_days justify_hours justify_interval
jsonb_object_agg jsonb_pretty jsonb_strip_nulls kafka_murmur2 lag last_value lead list_cat list_n_layers list_prepend
list_remove ln log log10 make_timestamp map_agg map_build map_length md5 mz_aclitem_grantee mz_aclitem_grantor
mz_aclitem_privileges mz_logical_timestamp mz_normalize_object_name mz_resolve_object_name mz_row_size mz_sleep
normalize pg_column_size pg_get_constraintdef pg_get_expr pg_get_indexdef pg_get_ruledef pg_relation_size pg_size_pretty
pow power radians regexp_extract regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table
row_number rank dense_rank first_value rpad seahash sha224 sha256 sha384 sha512 sin sinh stddev stddev_pop stddev_samp
tan tanh timezone_offset to_char to_regclass to_regproc to_regtype translate try_parse_monotonic_iso8601_timestamp
url_decode url_encode uuid_generate_v5 var_pop var_samp variance`)

// sessionFunctions are answered by the Resolver. Their types:
var sessionFunctions = map[string][]variant{
	"current_user": {{ret: Text}}, "session_user": {{ret: Text}}, "current_role": {{ret: Text}},
	"current_database": {{ret: Text}}, "current_catalog": {{ret: Text}}, "current_schema": {{ret: Text, nullable: true}},
	"current_schemas":   {{params: []Type{Bool}, ret: ArrayOf(Text)}},
	"current_setting":   {{params: []Type{Text}, ret: Text}, {params: []Type{Text, Bool}, ret: Text, nullable: true}},
	"current_timestamp": {{ret: Timestamptz}}, "now": {{ret: Timestamptz}}, "mz_now": {{ret: MzTimestamp}},
	"version": {{ret: Text}}, "mz_version": {{ret: Text}}, "mz_version_num": {{ret: Int4}},
	"mz_environment_id": {{ret: Text}}, "mz_session_id": {{ret: UUID}}, "mz_uptime": {{ret: IntervalT}},
	"mz_is_superuser": {{ret: Bool}}, "is_rbac_enabled": {{ret: Bool}},
	"pg_backend_pid": {{ret: Int4}}, "connection_id": {{ret: Int4}}, "pg_is_in_recovery": {{ret: Bool}},
	"pg_postmaster_start_time": {{ret: Timestamptz}}, "pg_encoding_to_char": {{params: []Type{Int8}, ret: Text}},
	"pg_cancel_backend":      {{params: []Type{Int4}, ret: Bool}},
	"has_database_privilege": privilegeVariants, "has_schema_privilege": privilegeVariants,
	"has_cluster_privilege": privilegeVariants, "has_table_privilege": privilegeVariants,
	"has_connection_privilege": privilegeVariants, "has_secret_privilege": privilegeVariants,
	"has_type_privilege": privilegeVariants,
	"has_system_privilege": {
		{params: []Type{Text}, ret: Bool}, {params: []Type{Text, Text}, ret: Bool}, {params: []Type{Oid, Text}, ret: Bool},
	},
	"pg_has_role":         privilegeVariants,
	"pg_get_userbyid":     {{params: []Type{Oid}, ret: Text}},
	"pg_table_is_visible": {{params: []Type{Oid}, ret: Bool}},
	"format_type":         {{params: []Type{Oid, Int4}, ret: Text, nullable: true}},
	"obj_description":     {{params: []Type{Oid, Text}, ret: Text, nullable: true}, {params: []Type{Oid}, ret: Text, nullable: true}},
	"col_description":     {{params: []Type{Oid, Int4}, ret: Text, nullable: true}},
	"pg_get_viewdef":      {{params: []Type{Oid}, ret: Text, nullable: true}, {params: []Type{Text}, ret: Text, nullable: true}},
}

// privilegeVariants are (role, object, privilege) and (object, privilege),
// role and object by name or OID.
var privilegeVariants = []variant{
	{params: []Type{Text, Text, Text}, ret: Bool}, {params: []Type{Oid, Text, Text}, ret: Bool},
	{params: []Type{Text, Oid, Text}, ret: Bool}, {params: []Type{Oid, Oid, Text}, ret: Bool},
	{params: []Type{Text, Text}, ret: Bool}, {params: []Type{Oid, Text}, ret: Bool},
}

// specialFunctions plan themselves: their types depend on their arguments.
// A nil result without an error means that the arguments do not fit.
var specialFunctions = map[string]func(p *planner, x *callExpr, args []*typed) (*typed, error){
	"list_length": func(p *planner, _ *callExpr, a []*typed) (*typed, error) {
		if len(a) != 1 || !a[0].typ.isList() {
			return nil, nil
		}
		return strict(Int4, a, func(_ *env, v []Value) (Value, error) { return int64(len(v[0].([]Value))), nil }), nil
	},
	"array_length": arrayLength, "cardinality": cardinality,
	"array_position": arrayPosition, "array_to_string": arrayToString,
	"list_append":  listAppend,
	"array_append": listAppend,
	"to_jsonb": func(p *planner, _ *callExpr, a []*typed) (*typed, error) {
		if len(a) != 1 {
			return nil, nil
		}
		in := p.settled(a[0])
		return strict(JSONB, []*typed{in}, func(_ *env, v []Value) (Value, error) { return encodeJSON(toJSON(v[0], in.typ)), nil }), nil
	},
	"jsonb_build_object": jsonBuildObject, "jsonb_build_array": jsonBuildArray,
	"extract":   func(p *planner, _ *callExpr, a []*typed) (*typed, error) { return p.extract(a, NumericT) },
	"date_part": func(p *planner, _ *callExpr, a []*typed) (*typed, error) { return p.extract(a, Float8) },
	"concat": func(p *planner, _ *callExpr, a []*typed) (*typed, error) {
		return p.concatAll(a, false)
	},
	"concat_ws": func(p *planner, _ *callExpr, a []*typed) (*typed, error) {
		if len(a) == 0 {
			return nil, nil
		}
		return p.concatAll(a, true)
	},
	"pg_typeof": func(p *planner, _ *callExpr, a []*typed) (*typed, error) {
		if len(a) != 1 {
			return nil, nil
		}
		return constant(p.settled(a[0]).typ.String(), Text), nil
	},
}

func arrayLength(p *planner, _ *callExpr, a []*typed) (*typed, error) {
	if len(a) != 2 || !a[0].typ.isArray() {
		return nil, nil
	}
	dim, ok := p.as(a[1], Int8, castImplicit)
	if !ok {
		return nil, nil
	}
	t := strict(Int4, []*typed{a[0], dim}, func(_ *env, v []Value) (Value, error) {
		list := v[0].([]Value)
		if v[1].(int64) != 1 || len(list) == 0 {
			return nil, nil
		}
		return int64(len(list)), nil
	})
	t.nullable = true
	return t, nil
}

func cardinality(_ *planner, _ *callExpr, a []*typed) (*typed, error) {
	if len(a) != 1 || !a[0].typ.isArray() {
		return nil, nil
	}
	return strict(Int8, a, func(_ *env, v []Value) (Value, error) { return int64(len(v[0].([]Value))), nil }), nil
}

func arrayPosition(p *planner, _ *callExpr, a []*typed) (*typed, error) {
	if len(a) != 2 || !a[0].typ.isArray() {
		return nil, nil
	}
	item, ok := p.as(a[1], *a[0].typ.Elem, castImplicit)
	if !ok {
		return nil, nil
	}
	t := strict(Int4, []*typed{a[0], item}, func(_ *env, v []Value) (Value, error) {
		i := slices.IndexFunc(v[0].([]Value), func(e Value) bool { return e != nil && compareValues(e, v[1]) == 0 })
		if i < 0 {
			return nil, nil
		}
		return int64(i + 1), nil
	})
	t.nullable = true
	return t, nil
}

func arrayToString(p *planner, _ *callExpr, a []*typed) (*typed, error) {
	if len(a) != 2 || a[0].typ.Elem == nil {
		return nil, nil
	}
	sep, ok := p.as(a[1], Text, castImplicit)
	if !ok {
		return nil, nil
	}
	elem := *a[0].typ.Elem
	return strict(Text, []*typed{a[0], sep}, func(_ *env, v []Value) (Value, error) {
		var out []byte
		first := true
		for _, e := range v[0].([]Value) {
			if e == nil {
				continue
			}
			if !first {
				out = append(out, v[1].(string)...)
			}
			out, first = appendText(out, e, elem), false
		}
		return string(out), nil
	}), nil
}

func listAppend(p *planner, x *callExpr, a []*typed) (*typed, error) {
	isList := x.name.Item() == "list_append"
	if len(a) != 2 || a[0].typ.Elem == nil || a[0].typ.isList() != isList {
		return nil, nil
	}
	item, ok := p.as(a[1], *a[0].typ.Elem, castImplicit)
	if !ok {
		return nil, nil
	}
	return p.concatList(a[0], item, a[0].typ, item)
}

package sql

import (
	"math"
	"slices"
	"strings"
	"time"
)

// srfCall is a set-returning call of a select list; its columns lie behind
// those of the scope, from at on.
type srfCall struct {
	expr *callExpr
	cols []Column
	at   int
	fn   tableFn
}

// tableFn computes the rows of a set-returning function.
type tableFn func(e *env, f *frame) ([][]Value, error)

// tableFunctions plan set-returning functions; nil columns without an error
// mean that the arguments do not fit.
var tableFunctions = map[string]func(p *planner, a []*typed) ([]Column, tableFn, error){
	"generate_series": planSeries,
	"unnest":          planUnnest,
	"mz_aclexplode":   planACLExplode,
	"jsonb_object_keys": func(p *planner, a []*typed) ([]Column, tableFn, error) {
		return planJSONEach(p, a, []Column{{Name: "jsonb_object_keys", Type: Text, TypeMod: -1}}, jsonKeyRows)
	},
	"jsonb_each": func(p *planner, a []*typed) ([]Column, tableFn, error) {
		return planJSONEach(p, a, []Column{{Name: "key", Type: Text, TypeMod: -1}, {Name: "value", Type: JSONB, TypeMod: -1}}, jsonEachRows)
	},
	"jsonb_array_elements": func(p *planner, a []*typed) ([]Column, tableFn, error) {
		return planJSONEach(p, a, []Column{{Name: "value", Type: JSONB, TypeMod: -1}}, func(v any) [][]Value {
			return jsonElementRows(v, func(e any) Value { return encodeJSON(e) })
		})
	},
	"jsonb_array_elements_text": func(p *planner, a []*typed) ([]Column, tableFn, error) {
		return planJSONEach(p, a, []Column{{Name: "value", Type: Text, TypeMod: -1, Nullable: true}}, func(v any) [][]Value {
			return jsonElementRows(v, jsonText)
		})
	},
}

func isTableFunction(name string) bool {
	_, ok := tableFunctions[name]
	return ok
}

// planTableCall plans a call of a set-returning function.
func (p *planner) planTableCall(x *callExpr, s *scope) ([]Column, tableFn, error) {
	name, ok := functionName(x.name)
	plan := tableFunctions[name]
	if !ok || plan == nil {
		return nil, nil, noFunction(x.name, false, nil)
	}
	if x.star || x.distinct || x.orderBy != nil || x.filter != nil {
		return nil, nil, planError("function %s is not an aggregate", name)
	}
	args, err := p.compileAll(x.args, s)
	if err != nil {
		return nil, nil, err
	}
	types := argTypes(args)
	cols, fn, err := plan(p, args)
	if err == nil && cols == nil {
		err = noFunction(x.name, true, types)
	}
	return cols, fn, err
}

// tableFunction plans a set-returning function in FROM.
func (s *selectPlan) tableFunction(t *tableFunc, left []scopeCol) (fromItem, error) {
	if t.ordinality {
		return fromItem{}, refuse("WITH ORDINALITY is not supported")
	}
	name, _ := functionName(t.call.name)
	if !isTableFunction(name) {
		return s.scalarFunction(t, left)
	}
	cols, fn, err := s.planTableCall(t.call, newScope(s.outer, left))
	if err != nil {
		return fromItem{}, err
	}
	alias := aliasOr(t.alias, t.call.name.Item())
	if len(cols) == 1 && cols[0].Name == t.call.name.Item() {
		cols = slices.Clone(cols)
		cols[0].Name = alias
	}
	sub, err := renamed(&subplan{op: &funcOp{fn}, cols: cols}, alias, t.alias.columns)
	if err != nil {
		return fromItem{}, err
	}
	return fromItem{sub.op, scopeColumns(sub.cols, "", alias)}, nil
}

// scalarFunction plans a plain function in FROM: a relation of one row.
func (s *selectPlan) scalarFunction(t *tableFunc, left []scopeCol) (fromItem, error) {
	x, err := s.compile(t.call, newScope(s.outer, left))
	if err != nil {
		return fromItem{}, err
	}
	alias := aliasOr(t.alias, t.call.name.Item())
	sub := &subplan{cols: []Column{{Name: alias, Type: x.typ, TypeMod: -1, Nullable: x.nullable}}}
	sub.op = &funcOp{func(e *env, f *frame) ([][]Value, error) {
		v, err := x.eval(e, f)
		return [][]Value{{v}}, err
	}}
	if sub, err = renamed(sub, alias, t.alias.columns); err != nil {
		return fromItem{}, err
	}
	return fromItem{sub.op, scopeColumns(sub.cols, "", alias)}, nil
}

// setReturning plans the set-returning calls of the select list: they run
// before the projection, side by side, and add their columns.
func (s *selectPlan) setReturning() error {
	var calls []*srfCall
	for _, item := range s.body.items {
		var err error
		walk(item.expr, func(x Expr) bool {
			c, ok := x.(*callExpr)
			if !ok {
				return err == nil
			}
			if name, known := functionName(c.name); known && isTableFunction(name) {
				call := &srfCall{expr: c}
				if call.cols, call.fn, err = s.planTableCall(c, s.scope); err == nil {
					calls = append(calls, call)
				}
				return false
			}
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	if len(calls) == 0 {
		return nil
	}
	sc := newScope(s.outer, slices.Clone(s.scope.cols))
	for _, c := range calls {
		c.at = len(sc.cols)
		for _, col := range c.cols {
			col.Nullable = col.Nullable || len(calls) > 1
			sc.cols = append(sc.cols, scopeCol{Column: col, hidden: true, table: "\x00"})
		}
	}
	sc.srf = calls
	s.op, s.scope = &srfOp{in: s.op, calls: calls}, sc
	return nil
}

// srfOp runs the set-returning calls for each row; the shorter ones give NULLs.
type srfOp struct {
	in    operator
	calls []*srfCall
}

func (o *srfOp) rows(e *env, f *frame) ([][]Value, error) {
	in, err := o.in.rows(e, f)
	if err != nil {
		return nil, err
	}
	var out [][]Value
	for _, row := range in {
		if err := e.tick(); err != nil {
			return nil, err
		}
		sets, longest := make([][][]Value, len(o.calls)), 0
		for i, c := range o.calls {
			if sets[i], err = c.fn(e, &frame{row, f}); err != nil {
				return nil, err
			}
			longest = max(longest, len(sets[i]))
		}
		for n := range longest {
			r := slices.Clone(row)
			for i, c := range o.calls {
				if n < len(sets[i]) {
					r = append(r, sets[i][n]...)
				} else {
					r = append(r, make([]Value, len(c.cols))...)
				}
			}
			out = append(out, r)
		}
		if err := tooMany(len(out)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// onArgs evaluates arguments and gives no rows when one is NULL.
func onArgs(args []*typed, fn func(e *env, v []Value) ([][]Value, error)) tableFn {
	return func(e *env, f *frame) ([][]Value, error) {
		v, err := evalAll(e, f, args)
		if err != nil || slices.Contains(nilsOf(v), true) {
			return nil, err
		}
		return fn(e, v)
	}
}

func nilsOf(list []Value) []bool {
	out := make([]bool, len(list))
	for i, v := range list {
		out[i] = v == nil
	}
	return out
}

func planSeries(p *planner, a []*typed) ([]Column, tableFn, error) {
	if len(a) != 2 && len(a) != 3 {
		return nil, nil, nil
	}
	t := Int4
	for _, x := range a {
		switch {
		case x.untyped() || x.typ.OID == OIDInterval:
		case x.typ.OID == OIDInt8 && t.OID == OIDInt4:
			t = Int8
		case x.typ.OID == OIDTimestamp, x.typ.OID == OIDTimestamptz:
			t = x.typ
		}
	}
	args := make([]*typed, len(a))
	for i, x := range a {
		want := t
		if i == 2 && t.class() == classTime {
			want = IntervalT
		}
		var ok bool
		if args[i], ok = p.as(x, want, castImplicit); !ok {
			return nil, nil, nil
		}
	}
	cols := []Column{{Name: "generate_series", Type: t, TypeMod: -1}}
	if t.class() == classTime {
		if len(a) != 3 {
			return nil, nil, nil
		}
		return cols, onArgs(args, timeSeries), nil
	}
	return cols, onArgs(args, intSeries), nil
}

func intSeries(e *env, v []Value) ([][]Value, error) {
	from, to, step := v[0].(int64), v[1].(int64), int64(1)
	if len(v) == 3 {
		step = v[2].(int64)
	}
	if step == 0 {
		return nil, evalError("22023", "step size cannot equal zero")
	}
	var rows [][]Value
	for n := from; step > 0 && n <= to || step < 0 && n >= to; n += step {
		if err := errOr(e.tick(), tooMany(len(rows))); err != nil {
			return nil, err
		}
		rows = append(rows, []Value{n})
		if step > 0 && n > math.MaxInt64-step || step < 0 && n < math.MinInt64-step {
			break
		}
	}
	return rows, nil
}

func timeSeries(e *env, v []Value) ([][]Value, error) {
	at, to, step := v[0].(time.Time), v[1].(time.Time), v[2].(Interval)
	sign := step.span().Sign()
	if sign == 0 {
		return nil, evalError("22023", "step size cannot equal zero")
	}
	var rows [][]Value
	for ; at.Compare(to)*sign <= 0; at = step.addTo(at) {
		if err := errOr(e.tick(), tooMany(len(rows))); err != nil {
			return nil, err
		}
		rows = append(rows, []Value{at})
	}
	return rows, nil
}

func planUnnest(_ *planner, a []*typed) ([]Column, tableFn, error) {
	if len(a) != 1 || a[0].typ.Elem == nil {
		return nil, nil, nil
	}
	cols := []Column{{Name: "unnest", Type: *a[0].typ.Elem, TypeMod: -1, Nullable: true}}
	return cols, onArgs(a, func(_ *env, v []Value) ([][]Value, error) {
		list := v[0].([]Value)
		rows := make([][]Value, len(list))
		for i, x := range list {
			rows[i] = []Value{x}
		}
		return rows, nil
	}), nil
}

// aclLetters are the privileges behind the letters of an mz_aclitem.
var aclLetters = []struct {
	letter byte
	name   string
}{
	{'a', "INSERT"}, {'r', "SELECT"}, {'w', "UPDATE"}, {'d', "DELETE"}, {'U', "USAGE"}, {'C', "CREATE"},
	{'R', "CREATEROLE"}, {'B', "CREATEDB"}, {'N', "CREATECLUSTER"}, {'P', "CREATENETWORKPOLICY"},
}

func planACLExplode(_ *planner, a []*typed) ([]Column, tableFn, error) {
	if len(a) != 1 || a[0].typ.OID != ArrayOf(MzACLItem).OID {
		return nil, nil, nil
	}
	cols := []Column{
		{Name: "grantor", Type: Text, TypeMod: -1}, {Name: "grantee", Type: Text, TypeMod: -1},
		{Name: "privilege_type", Type: Text, TypeMod: -1}, {Name: "is_grantable", Type: Bool, TypeMod: -1},
	}
	return cols, onArgs(a, func(_ *env, v []Value) ([][]Value, error) {
		var rows [][]Value
		for _, item := range v[0].([]Value) {
			text, _ := item.(string)
			grantee, rest, _ := strings.Cut(text, "=")
			letters, grantor, _ := strings.Cut(rest, "/")
			if grantee == "" {
				grantee = "p"
			}
			for _, l := range aclLetters {
				if strings.IndexByte(letters, l.letter) >= 0 {
					rows = append(rows, []Value{grantor, grantee, l.name, false})
				}
			}
		}
		return rows, nil
	}), nil
}

func planJSONEach(p *planner, a []*typed, cols []Column, each func(any) [][]Value) ([]Column, tableFn, error) {
	if len(a) != 1 {
		return nil, nil, nil
	}
	arg, ok := p.as(a[0], JSONB, castImplicit)
	if !ok {
		return nil, nil, nil
	}
	return cols, onArgs([]*typed{arg}, func(_ *env, v []Value) ([][]Value, error) { return each(v[0].(JSON).value()), nil }), nil
}

func jsonKeyRows(v any) [][]Value {
	var rows [][]Value
	for _, r := range jsonEachRows(v) {
		rows = append(rows, r[:1])
	}
	return rows
}

func jsonEachRows(v any) [][]Value {
	m, _ := v.(map[string]any)
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	rows := make([][]Value, len(keys))
	for i, k := range keys {
		rows[i] = []Value{k, encodeJSON(m[k])}
	}
	return rows
}

func jsonElementRows(v any, conv func(any) Value) [][]Value {
	list, _ := v.([]any)
	rows := make([][]Value, len(list))
	for i, e := range list {
		rows[i] = []Value{conv(e)}
	}
	return rows
}

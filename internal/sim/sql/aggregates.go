package sql

import "strings"

// aggScope is what a grouped select knows of its groups.
type aggScope struct {
	input *scope
	keys  map[string]int // canonical form of a group expression → its column
	calls []*aggCall
	index map[string]int // canonical form of an aggregate → its place in calls
	nkeys int
}

// aggCall is one aggregate of a grouped select.
type aggCall struct {
	args     []*typed
	filter   *typed
	distinct bool
	order    []sortKey
	result   Column
	fold     foldFunc
	strict   bool // rows whose first argument is NULL are left out
}

// foldFunc computes an aggregate from the argument rows of one group.
type foldFunc func(rows [][]Value) (Value, error)

// aggregates by name; plan gets compiled arguments and gives the result type
// and fold, or ok false when the arguments do not fit.
var aggregates = map[string]func(p *planner, args []*typed) (call aggCall, ok bool){
	"count": func(p *planner, a []*typed) (aggCall, bool) {
		return aggCall{result: Column{Type: Int8}, strict: true, fold: foldCount}, len(a) == 1
	},
	"sum": planSum, "avg": planAvg,
	"min":      func(p *planner, a []*typed) (aggCall, bool) { return planBest(p, a, -1) },
	"max":      func(p *planner, a []*typed) (aggCall, bool) { return planBest(p, a, 1) },
	"bool_and": func(p *planner, a []*typed) (aggCall, bool) { return planBool(p, a, false) },
	"bool_or":  func(p *planner, a []*typed) (aggCall, bool) { return planBool(p, a, true) },
	"array_agg": func(p *planner, a []*typed) (aggCall, bool) {
		if len(a) != 1 {
			return aggCall{}, false
		}
		a[0] = p.settled(a[0])
		return aggCall{result: Column{Type: ArrayOf(a[0].typ), Nullable: true}, fold: foldList}, !a[0].typ.isArray()
	},
	"list_agg": func(p *planner, a []*typed) (aggCall, bool) {
		if len(a) != 1 {
			return aggCall{}, false
		}
		a[0] = p.settled(a[0])
		return aggCall{result: Column{Type: ListOf(a[0].typ), Nullable: true}, fold: foldList}, true
	},
	"string_agg": planStringAgg,
	"jsonb_agg": func(p *planner, a []*typed) (aggCall, bool) {
		if len(a) != 1 {
			return aggCall{}, false
		}
		a[0] = p.settled(a[0])
		t := a[0].typ
		return aggCall{result: Column{Type: JSONB}, fold: func(rows [][]Value) (Value, error) {
			list := make([]any, len(rows))
			for i, r := range rows {
				list[i] = toJSON(r[0], t)
			}
			return encodeJSON(list), nil
		}}, true
	},
}

func isAggregate(name string) bool {
	_, ok := aggregates[name]
	return ok
}

func foldCount(rows [][]Value) (Value, error) { return int64(len(rows)), nil }

func foldList(rows [][]Value) (Value, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	list := make([]Value, len(rows))
	for i, r := range rows {
		list[i] = r[0]
	}
	return list, nil
}

// sumType is the type sums of a type have.
func sumType(t Type) (Type, bool) {
	switch t.OID {
	case OIDInt2, OIDInt4:
		return Int8, true
	case OIDUint2, OIDUint4:
		return Uint8, true
	case OIDInt8, OIDUint8, OIDNumeric:
		return NumericT, true
	case OIDFloat4, OIDFloat8, OIDInterval:
		return t, true
	}
	return Type{}, false
}

func planSum(p *planner, a []*typed) (aggCall, bool) {
	if len(a) != 1 || a[0].untyped() {
		return aggCall{}, false
	}
	t, ok := sumType(a[0].typ)
	if !ok {
		return aggCall{}, false
	}
	a[0] = convert(a[0], t, findCast(a[0].typ, t, castExplicit))
	return aggCall{result: Column{Type: t, Nullable: true}, strict: true, fold: func(rows [][]Value) (Value, error) {
		var sum Value
		for _, r := range rows {
			var err error
			if sum, err = addValues(sum, r[0], t); err != nil {
				return nil, err
			}
		}
		return sum, nil
	}}, true
}

func addValues(a, b Value, t Type) (Value, error) {
	if a == nil {
		return b, nil
	}
	switch b := b.(type) {
	case int64:
		return intArithmetic("+", a.(int64), b, t)
	case float64:
		return a.(float64) + b, nil
	case Interval:
		return a.(Interval).add(b), nil
	default:
		return numericArithmetic("+", a.(Numeric), b.(Numeric))
	}
}

func planAvg(p *planner, a []*typed) (aggCall, bool) {
	if len(a) != 1 || a[0].untyped() || a[0].typ.class() != classNumber || a[0].typ.OID == OIDOid {
		return aggCall{}, false
	}
	t := NumericT
	if a[0].typ.isFloat() {
		t = a[0].typ
	}
	a[0] = convert(a[0], t, findCast(a[0].typ, t, castExplicit))
	return aggCall{result: Column{Type: t, Nullable: true}, strict: true, fold: func(rows [][]Value) (Value, error) {
		var sum Value
		for _, r := range rows {
			var err error
			if sum, err = addValues(sum, r[0], t); err != nil {
				return nil, err
			}
		}
		switch sum := sum.(type) {
		case nil:
			return nil, nil
		case float64:
			return sum / float64(len(rows)), nil
		default:
			return numericArithmetic("/", sum.(Numeric), NumericFromInt(int64(len(rows))))
		}
	}}, true
}

func planBest(p *planner, a []*typed, want int) (aggCall, bool) {
	if len(a) != 1 {
		return aggCall{}, false
	}
	a[0] = p.settled(a[0])
	switch a[0].typ.OID {
	case OIDJSONB, OIDUUID, OIDMzACLItem, OIDBytea:
		return aggCall{}, false
	}
	return aggCall{result: Column{Type: a[0].typ, Nullable: true}, strict: true, fold: func(rows [][]Value) (Value, error) {
		var best Value
		for _, r := range rows {
			if best == nil || compareValues(r[0], best)*want > 0 {
				best = r[0]
			}
		}
		return best, nil
	}}, a[0].typ.Elem == nil
}

func planBool(p *planner, a []*typed, decisive bool) (aggCall, bool) {
	if len(a) != 1 {
		return aggCall{}, false
	}
	if a[0].untyped() {
		a[0] = p.decide(a[0], Bool)
	}
	return aggCall{result: Column{Type: Bool, Nullable: true}, strict: true, fold: func(rows [][]Value) (Value, error) {
		if len(rows) == 0 {
			return nil, nil
		}
		for _, r := range rows {
			if r[0] == decisive {
				return decisive, nil
			}
		}
		return !decisive, nil
	}}, a[0].typ.OID == OIDBool
}

func planStringAgg(p *planner, a []*typed) (aggCall, bool) {
	if len(a) != 2 {
		return aggCall{}, false
	}
	for i := range a {
		t, ok := p.as(a[i], Text, castImplicit)
		if !ok {
			return aggCall{}, false
		}
		a[i] = t
	}
	return aggCall{result: Column{Type: Text, Nullable: true}, strict: true, fold: func(rows [][]Value) (Value, error) {
		if len(rows) == 0 {
			return nil, nil
		}
		var b strings.Builder
		for i, r := range rows {
			if sep, ok := r[1].(string); ok && i > 0 {
				b.WriteString(sep)
			}
			b.WriteString(r[0].(string))
		}
		return b.String(), nil
	}}, true
}

// compileGrouped resolves what means a group column or an aggregate; nil
// without an error: the expression is made of smaller ones.
func (p *planner) compileGrouped(x Expr, s *scope) (*typed, error) {
	if _, isColumn := x.(*colExpr); !isColumn {
		if slot, ok := s.agg.keys[p.exprKey(x, s.agg.input)]; ok {
			return columnAt(0, slot, s.cols[slot].Column), nil
		}
	}
	call, ok := x.(*callExpr)
	if !ok {
		return nil, nil
	}
	name, ok := functionName(call.name)
	if !ok || !isAggregate(name) {
		return nil, nil
	}
	key := p.exprKey(x, s.agg.input)
	i, seen := s.agg.index[key]
	if !seen {
		c, err := p.aggregate(name, call, s.agg.input)
		if err != nil {
			return nil, err
		}
		i = len(s.agg.calls)
		s.agg.calls = append(s.agg.calls, c)
		s.agg.index[key] = i
	}
	return columnAt(0, s.agg.nkeys+i, s.agg.calls[i].result), nil
}

func (p *planner) aggregate(name string, x *callExpr, input *scope) (*aggCall, error) {
	var args []*typed
	var err error
	if x.star {
		if name != "count" {
			return nil, noFunction(x.name, true, nil)
		}
		args = []*typed{constant(true, Bool)}
	} else if args, err = p.compileAll(x.args, input); err != nil {
		return nil, err
	}
	types := argTypes(args)
	c, ok := aggregates[name](p, args)
	if !ok {
		return nil, noFunction(x.name, true, types)
	}
	c.distinct = x.distinct
	if x.filter != nil {
		f, err := p.compile(x.filter, input)
		if err != nil {
			return nil, err
		}
		if c.filter, err = p.toBool(f, "FILTER"); err != nil {
			return nil, err
		}
	}
	width := len(args)
	for _, o := range x.orderBy {
		t, err := p.compile(o.Expr, input)
		if err != nil {
			return nil, err
		}
		c.order = append(c.order, sortKey{width, o.Desc, o.NullsFirst})
		args = append(args, p.settled(t))
		width++
	}
	for i := range args {
		args[i] = p.settled(args[i])
	}
	c.args = args
	return &c, nil
}

// compute runs one aggregate over the rows of a group.
func (c *aggCall) compute(e *env, outer *frame, group [][]Value) (Value, error) {
	rows := make([][]Value, 0, len(group))
	seen := map[string]bool{}
	for _, in := range group {
		f := &frame{in, outer}
		if c.filter != nil {
			keep, err := c.filter.eval(e, f)
			if err != nil {
				return nil, err
			}
			if keep != true {
				continue
			}
		}
		row, err := evalAll(e, f, c.args)
		if err != nil {
			return nil, err
		}
		if c.strict && row[0] == nil {
			continue
		}
		if c.distinct {
			key := string(appendKey(nil, row[0]))
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		rows = append(rows, row)
	}
	if len(c.order) > 0 {
		sortRows(rows, c.order)
	}
	return c.fold(rows)
}

// usesAggregate is the name of an aggregate that the expressions call on their
// own level; "": none.
func usesAggregate(list ...Expr) string {
	found := ""
	for _, x := range list {
		walk(x, func(x Expr) bool {
			if c, ok := x.(*callExpr); ok && found == "" {
				if name, ok := functionName(c.name); ok && isAggregate(name) {
					found = name
				}
			}
			return found == ""
		})
	}
	return found
}

// noAggregate fails when an expression of the clause calls an aggregate.
func noAggregate(x Expr, clause string) error {
	if name := usesAggregate(x); name != "" {
		return planError("aggregate functions are not allowed in %s (function pg_catalog.%s)", clause, name)
	}
	return nil
}

package sql

import (
	"encoding/hex"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// plainFunctions depend on nothing but their arguments.
var plainFunctions = map[string][]variant{
	"abs": {
		intVariant(Int4, func(n int64) int64 { return max(n, -n) }), intVariant(Int8, func(n int64) int64 { return max(n, -n) }),
		numVariant(func(n Numeric) Numeric {
			if n.Sign() < 0 {
				n, _ = Numeric{}.Sub(n)
			}
			return n
		}),
		floatVariant(math.Abs),
	},
	"ceil": rounding(math.Ceil), "ceiling": rounding(math.Ceil), "floor": rounding(math.Floor),
	"round": {
		floatVariant(math.RoundToEven),
		{params: []Type{NumericT}, ret: NumericT, fn: func(_ *env, a []Value) (Value, error) { return a[0].(Numeric).Round(0), nil }},
		{params: []Type{NumericT, Int4}, ret: NumericT, fn: func(_ *env, a []Value) (Value, error) {
			n, err := a[0].(Numeric).Round(int(max(min(a[1].(int64), 100), -100))).fit()
			return valueOr(n, err)
		}},
	},
	"trunc": {floatVariant(math.Trunc), numVariant(Numeric.truncate)},
	"sqrt": {{params: []Type{Float8}, ret: Float8, fn: func(_ *env, a []Value) (Value, error) {
		if a[0].(float64) < 0 {
			return nil, evalError("2201F", "cannot take square root of a negative number")
		}
		return math.Sqrt(a[0].(float64)), nil
	}}},
	"mod": {
		{params: []Type{Int4, Int4}, ret: Int4, fn: modInt(Int4)}, {params: []Type{Int8, Int8}, ret: Int8, fn: modInt(Int8)},
		{params: []Type{NumericT, NumericT}, ret: NumericT, fn: func(_ *env, a []Value) (Value, error) {
			return numericArithmetic("%", a[0].(Numeric), a[1].(Numeric))
		}},
	},
	"length":          {textInt(utf8.RuneCountInString), {params: []Type{Bytea}, ret: Int4, fn: byteLength}},
	"char_length":     {textInt(utf8.RuneCountInString)},
	"octet_length":    {textInt(func(s string) int { return len(s) }), {params: []Type{Bytea}, ret: Int4, fn: byteLength}},
	"lower":           {textText(strings.ToLower)},
	"upper":           {textText(strings.ToUpper)},
	"initcap":         {textText(initcap)},
	"reverse":         {textText(reverse)},
	"quote_ident":     {textText(QuoteIdent)},
	"btrim":           trims(strings.Trim),
	"trim":            trims(strings.Trim),
	"ltrim":           trims(strings.TrimLeft),
	"rtrim":           trims(strings.TrimRight),
	"substring":       substrings,
	"substr":          substrings,
	"replace":         {{params: []Type{Text, Text, Text}, ret: Text, fn: replace}},
	"split_part":      {{params: []Type{Text, Text, Int8}, ret: Text, fn: splitPart}},
	"left":            {{params: []Type{Text, Int4}, ret: Text, fn: left}},
	"right":           {{params: []Type{Text, Int4}, ret: Text, fn: right}},
	"lpad":            {{params: []Type{Text, Int4}, ret: Text, fn: lpad}, {params: []Type{Text, Int4, Text}, ret: Text, fn: lpad}},
	"repeat":          {{params: []Type{Text, Int4}, ret: Text, fn: repeat}},
	"position":        {{params: []Type{Text, Text}, ret: Int4, fn: func(_ *env, a []Value) (Value, error) { return position(a[1], a[0]), nil }}},
	"strpos":          {{params: []Type{Text, Text}, ret: Int4, fn: func(_ *env, a []Value) (Value, error) { return position(a[0], a[1]), nil }}},
	"starts_with":     {{params: []Type{Text, Text}, ret: Bool, fn: func(_ *env, a []Value) (Value, error) { return strings.HasPrefix(a[0].(string), a[1].(string)), nil }}},
	"string_to_array": {{params: []Type{Text, Text}, ret: ArrayOf(Text), fn: stringToArray}},
	"encode":          {{params: []Type{Bytea, Text}, ret: Text, fn: encode}},
	"date_trunc":      {{params: []Type{Text, Timestamptz}, ret: Timestamptz, fn: dateTrunc}, {params: []Type{Text, Timestamp}, ret: Timestamp, fn: dateTrunc}},
	"to_timestamp":    {{params: []Type{Float8}, ret: Timestamptz, fn: toTimestamp}},
	"jsonb_typeof":    {{params: []Type{JSONB}, ret: Text, fn: func(_ *env, a []Value) (Value, error) { return jsonTypeName(a[0].(JSON).value()), nil }}},
	"jsonb_array_length": {{params: []Type{JSONB}, ret: Int4, nullable: true, fn: func(_ *env, a []Value) (Value, error) {
		if l, ok := a[0].(JSON).value().([]any); ok {
			return int64(len(l)), nil
		}
		return nil, nil
	}}},
	"timezone": {
		{params: []Type{Text, Timestamptz}, ret: Timestamp, fn: utcOnly}, {params: []Type{Text, Timestamp}, ret: Timestamptz, fn: utcOnly},
	},
}

func intVariant(t Type, f func(int64) int64) variant {
	return variant{params: []Type{t}, ret: t, fn: func(_ *env, a []Value) (Value, error) {
		n := f(a[0].(int64))
		return checkedInt(n, n >= 0, t)
	}}
}

func numVariant(f func(Numeric) Numeric) variant {
	return variant{params: []Type{NumericT}, ret: NumericT, fn: func(_ *env, a []Value) (Value, error) { return f(a[0].(Numeric)), nil }}
}

func floatVariant(f func(float64) float64) variant {
	return variant{params: []Type{Float8}, ret: Float8, fn: func(_ *env, a []Value) (Value, error) { return f(a[0].(float64)), nil }}
}

func rounding(f func(float64) float64) []variant {
	up := f(0.5) == 1
	return []variant{floatVariant(f), numVariant(func(n Numeric) Numeric {
		one, whole := NumericFromInt(1), n.truncate()
		switch c := n.Cmp(whole); {
		case c > 0 && up:
			whole, _ = whole.Add(one)
		case c < 0 && !up:
			whole, _ = whole.Sub(one)
		}
		return whole
	})}
}

func modInt(t Type) func(*env, []Value) (Value, error) {
	return func(_ *env, a []Value) (Value, error) { return intArithmetic("%", a[0].(int64), a[1].(int64), t) }
}

func textText(f func(string) string) variant {
	return variant{params: []Type{Text}, ret: Text, fn: func(_ *env, a []Value) (Value, error) { return f(a[0].(string)), nil }}
}

func textInt(f func(string) int) variant {
	return variant{params: []Type{Text}, ret: Int4, fn: func(_ *env, a []Value) (Value, error) { return int64(f(a[0].(string))), nil }}
}

func byteLength(_ *env, a []Value) (Value, error) { return int64(len(a[0].([]byte))), nil }

func initcap(s string) string {
	var b strings.Builder
	start := true
	for _, c := range s {
		if start {
			b.WriteString(strings.ToUpper(string(c)))
		} else {
			b.WriteString(strings.ToLower(string(c)))
		}
		start = !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80)
	}
	return b.String()
}

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

func trims(f func(s, cutset string) string) []variant {
	return []variant{
		textText(func(s string) string { return f(s, " ") }),
		{params: []Type{Text, Text}, ret: Text, fn: func(_ *env, a []Value) (Value, error) { return f(a[0].(string), a[1].(string)), nil }},
	}
}

var substrings = []variant{
	{params: []Type{Text, Int8}, ret: Text, fn: substring}, {params: []Type{Text, Int8, Int8}, ret: Text, fn: substring},
}

func substring(_ *env, a []Value) (Value, error) {
	r := []rune(a[0].(string))
	n := int64(len(r))
	start, end := a[1].(int64)-1, n
	if len(a) == 3 {
		length := a[2].(int64)
		if length < 0 {
			return nil, evalError("22011", "negative substring length not allowed")
		}
		if start < n { // no overflow: both are small then, or start is very negative
			end = min(n, max(start, -1<<40)+min(length, 1<<40))
		}
	}
	start = min(max(start, 0), n)
	return string(r[start:max(start, end)]), nil
}

func replace(_ *env, a []Value) (Value, error) {
	s, from, to := a[0].(string), a[1].(string), a[2].(string)
	if from == "" {
		return s, nil
	}
	if len(s)/len(from)*len(to) > 100<<20 {
		return nil, refuse("a text this long is not supported")
	}
	return strings.ReplaceAll(s, from, to), nil
}

func splitPart(_ *env, a []Value) (Value, error) {
	i := a[2].(int64)
	if i < 1 {
		return nil, evalError("22023", "field position must be greater than zero")
	}
	parts := []string{a[0].(string)}
	if sep := a[1].(string); sep != "" {
		parts = strings.Split(parts[0], sep)
	}
	if i > int64(len(parts)) {
		return "", nil
	}
	return parts[i-1], nil
}

func left(_ *env, a []Value) (Value, error) {
	r, n := []rune(a[0].(string)), int(a[1].(int64))
	if n < 0 {
		n = max(0, len(r)+n)
	}
	return string(r[:min(n, len(r))]), nil
}

func right(_ *env, a []Value) (Value, error) {
	r, n := []rune(a[0].(string)), int(a[1].(int64))
	if n < 0 {
		n = max(0, len(r)+n)
	}
	return string(r[len(r)-min(n, len(r)):]), nil
}

func lpad(_ *env, a []Value) (Value, error) {
	r, n, fill := []rune(a[0].(string)), int(a[1].(int64)), []rune(" ")
	if len(a) == 3 {
		fill = []rune(a[2].(string))
	}
	if n < 0 || n > 10<<20 {
		return nil, evalError("22023", "lpad length out of range")
	}
	if n <= len(r) {
		return string(r[:n]), nil
	}
	if len(fill) == 0 {
		return string(r), nil
	}
	pad := make([]rune, n-len(r))
	for i := range pad {
		pad[i] = fill[i%len(fill)]
	}
	return string(pad) + string(r), nil
}

func repeat(_ *env, a []Value) (Value, error) {
	s, n := a[0].(string), max(0, int(a[1].(int64)))
	if len(s) > 0 && n > (100<<20)/len(s) {
		return nil, evalError("54000", "requested length too large")
	}
	return strings.Repeat(s, n), nil
}

func position(haystack, needle Value) Value {
	i := strings.Index(haystack.(string), needle.(string))
	if i < 0 {
		return int64(0)
	}
	return int64(utf8.RuneCountInString(haystack.(string)[:i]) + 1)
}

func stringToArray(_ *env, a []Value) (Value, error) {
	s, sep := a[0].(string), a[1].(string)
	list := []Value{}
	if s == "" {
		return list, nil
	}
	if sep == "" {
		return []Value{s}, nil
	}
	for part := range strings.SplitSeq(s, sep) {
		list = append(list, part)
	}
	return list, nil
}

func encode(_ *env, a []Value) (Value, error) {
	if f := a[1].(string); !strings.EqualFold(f, "hex") {
		return nil, refuse("encode(…, %q) is not supported", f)
	}
	return hex.EncodeToString(a[0].([]byte)), nil
}

func dateTrunc(_ *env, a []Value) (Value, error) {
	t, err := truncTime(strings.ToLower(a[0].(string)), a[1].(time.Time))
	return valueOr(t, err)
}

func toTimestamp(_ *env, a []Value) (Value, error) {
	f := a[0].(float64)
	if math.IsNaN(f) || math.Abs(f) > 1e11 {
		return nil, evalError("22008", "timestamp out of range")
	}
	return time.UnixMicro(int64(math.Round(f * 1e6))).UTC(), nil
}

func utcOnly(_ *env, a []Value) (Value, error) {
	if z := a[0].(string); !strings.EqualFold(z, "UTC") {
		return nil, refuse("time zone %q is not supported", z)
	}
	return a[1], nil
}

// extract plans EXTRACT and date_part.
func (p *planner) extract(a []*typed, out Type) (*typed, error) {
	if len(a) != 2 {
		return nil, nil
	}
	field, ok := p.as(a[0], Text, castImplicit)
	if !ok {
		return nil, nil
	}
	switch a[1].typ.OID {
	case OIDInterval, OIDDate, OIDTimestamp, OIDTimestamptz:
	default:
		return nil, nil
	}
	return strict(out, []*typed{field, a[1]}, func(_ *env, v []Value) (Value, error) {
		name := strings.ToLower(v[0].(string))
		var n Numeric
		var err error
		if iv, ok := v[1].(Interval); ok {
			n, err = extractInterval(name, iv)
		} else {
			n, err = extractTime(name, v[1].(time.Time))
		}
		if err != nil {
			return nil, err
		}
		return castNumber(n, out)
	}), nil
}

// concatAll plans concat and concat_ws, which skip NULLs.
func (p *planner) concatAll(args []*typed, separated bool) (*typed, error) {
	texts := make([]*typed, len(args))
	for i, a := range args {
		a = p.settled(a)
		f := findCast(a.typ, Text, castExplicit)
		if f == nil {
			return nil, nil
		}
		texts[i] = convert(a, Text, f)
	}
	return &typed{typ: Text, nullable: separated, eval: func(e *env, f *frame) (Value, error) {
		vals, err := evalAll(e, f, texts)
		if err != nil {
			return nil, err
		}
		sep := ""
		if separated {
			if vals[0] == nil {
				return nil, nil
			}
			sep, vals = vals[0].(string), vals[1:]
		}
		var parts []string
		for _, v := range vals {
			if v != nil {
				parts = append(parts, v.(string))
			}
		}
		return strings.Join(parts, sep), nil
	}}, nil
}

func jsonBuildObject(p *planner, _ *callExpr, a []*typed) (*typed, error) {
	if len(a)%2 != 0 {
		return nil, nil
	}
	for i := range a {
		a[i] = p.settled(a[i])
	}
	return &typed{typ: JSONB, eval: func(e *env, f *frame) (Value, error) {
		vals, err := evalAll(e, f, a)
		if err != nil {
			return nil, err
		}
		m := map[string]any{}
		for i := 0; i < len(vals); i += 2 {
			if vals[i] == nil {
				return nil, evalError("22004", "key cannot be null")
			}
			m[string(EncodeText(vals[i], a[i].typ))] = toJSON(vals[i+1], a[i+1].typ)
		}
		return encodeJSON(m), nil
	}}, nil
}

func jsonBuildArray(p *planner, _ *callExpr, a []*typed) (*typed, error) {
	for i := range a {
		a[i] = p.settled(a[i])
	}
	return &typed{typ: JSONB, eval: func(e *env, f *frame) (Value, error) {
		vals, err := evalAll(e, f, a)
		if err != nil {
			return nil, err
		}
		list := make([]any, len(vals))
		for i, v := range vals {
			list[i] = toJSON(v, a[i].typ)
		}
		return encodeJSON(list), nil
	}}, nil
}

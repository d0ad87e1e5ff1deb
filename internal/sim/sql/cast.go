package sql

import (
	"time"
	"unicode/utf8"
)

// castLevel says how a conversion came to be asked for.
type castLevel uint8

const (
	castImplicit   castLevel = iota // by an operator or a function
	castAssignment                  // into a column
	castExplicit                    // by ::
)

// castFn converts a value that is not NULL.
type castFn func(Value) (Value, error)

func identity(v Value) (Value, error) { return v, nil }

// findCast finds the conversion from one type to another; nil: there is none
// at this level.
func findCast(from, to Type, level castLevel) castFn {
	if from.same(to) {
		return identity
	}
	if level < castExplicit && !assignable(from, to, level) {
		return nil
	}
	switch {
	case to.class() == classString:
		return castToString(from, to)
	case from.class() == classString:
		return func(v Value) (Value, error) { return parseText(v.(string), to) }
	case from.class() == classNumber && to.class() == classNumber:
		return func(v Value) (Value, error) { return castNumber(v, to) }
	case from.Elem != nil && to.Elem != nil:
		return castElements(from, to, level)
	}
	if f := castTime(from, to); f != nil {
		return f
	}
	return castOdd(from, to)
}

// assignable says whether a conversion may happen without ::.
func assignable(from, to Type, level castLevel) bool {
	fc, tc := from.class(), to.class()
	switch {
	case fc == classString && tc == classString:
		return true
	case fc == classNumber && tc == classNumber:
		return level == castAssignment || widens(from, to)
	case fc == classTime && tc == classTime:
		return level == castAssignment || timeRank(from) < timeRank(to)
	case from.isInteger() && to.OID == OIDMzTimestamp, from.OID == OIDNumeric && to.OID == OIDMzTimestamp:
		return true
	case from.Elem != nil && to.Elem != nil && from.isList() == to.isList():
		return from.Elem.same(*to.Elem) || assignable(*from.Elem, *to.Elem, level)
	}
	return level == castAssignment && tc == classString
}

func timeRank(t Type) int {
	switch t.OID {
	case OIDDate:
		return 1
	case OIDTimestamp:
		return 2
	case OIDTimestamptz:
		return 3
	}
	return 4
}

// widens says whether every value of one number type is one of the other.
func widens(from, to Type) bool {
	t, ok := commonNumber(from, to)
	return ok && t.same(to)
}

// commonNumber is the type two numbers are compared and added in.
func commonNumber(a, b Type) (Type, bool) {
	switch {
	case a.same(b):
		return a, true
	case a.isFloat() || b.isFloat():
		if a.OID == OIDInt2 || b.OID == OIDInt2 || a.OID == OIDUint2 || b.OID == OIDUint2 {
			if a.OID == OIDFloat4 || b.OID == OIDFloat4 {
				return Float4, true
			}
		}
		return Float8, true
	case a.OID == OIDNumeric || b.OID == OIDNumeric:
		return NumericT, true
	case a.OID == OIDOid || b.OID == OIDOid:
		return Oid, true
	}
	aw, as := intWidth(a)
	bw, bs := intWidth(b)
	w := max(aw, bw)
	switch {
	case as && bs:
		return []Type{Int2, Int4, Int8}[w], true
	case !as && !bs:
		return []Type{Uint2, Uint4, Uint8}[w], true
	case as:
		w = max(aw, bw+1)
	default:
		w = max(bw, aw+1)
	}
	if w > 2 {
		return NumericT, true
	}
	return []Type{Int2, Int4, Int8}[w], true
}

func intWidth(t Type) (width int, signed bool) {
	switch t.OID {
	case OIDInt2:
		return 0, true
	case OIDInt4:
		return 1, true
	case OIDInt8:
		return 2, true
	case OIDUint2:
		return 0, false
	case OIDUint4:
		return 1, false
	}
	return 2, false
}

// commonType is the type two values are compared or united in.
func commonType(a, b Type) (Type, bool) {
	switch {
	case a.same(b):
		return a, true
	case a.class() == classNumber && b.class() == classNumber:
		return commonNumber(a, b)
	case a.class() == classString && b.class() == classString:
		return Text, true
	case a.class() == classTime && b.class() == classTime:
		if timeRank(a) > timeRank(b) {
			return a, true
		}
		return b, true
	case a.OID == OIDMzTimestamp && assignable(b, a, castImplicit):
		return a, true
	case b.OID == OIDMzTimestamp && assignable(a, b, castImplicit):
		return b, true
	case a.Elem != nil && b.Elem != nil && a.isList() == b.isList():
		if e, ok := commonType(*a.Elem, *b.Elem); ok {
			if a.isList() {
				return ListOf(e), true
			}
			return ArrayOf(e), true
		}
	}
	return Type{}, false
}

func castToString(from, to Type) castFn {
	if to.OID == OIDChar && from.class() == classString {
		return func(v Value) (Value, error) {
			s := v.(string)
			if _, n := utf8.DecodeRuneInString(s); n < len(s) {
				s = s[:n]
			}
			return s, nil
		}
	}
	if from.class() == classString {
		return identity
	}
	if from.OID == OIDBool {
		return func(v Value) (Value, error) {
			if v.(bool) {
				return "true", nil
			}
			return "false", nil
		}
	}
	return func(v Value) (Value, error) { return string(EncodeText(v, from)), nil }
}

// castNumber converts between number types, rounding and checking the range.
func castNumber(v Value, to Type) (Value, error) {
	outOfRange := func() error {
		return evalError("22003", "%s %s out of range", rustQuote(string(EncodeText(v, Float8))), to)
	}
	switch {
	case to.isInteger():
		n, ok := int64(0), true
		switch v := v.(type) {
		case int64:
			n = v
		case float64:
			n, ok = roundFloat(v)
		case Numeric:
			n, ok = v.Int64()
		}
		if !ok || !inRange(n, to) {
			return nil, outOfRange()
		}
		return n, nil
	case to.isFloat():
		switch v := v.(type) {
		case int64:
			return float64(v), nil
		case Numeric:
			return v.Float64(), nil
		case float64:
			if to.OID == OIDFloat4 {
				return float64(float32(v)), nil
			}
			return v, nil
		}
	default:
		switch v := v.(type) {
		case int64:
			return NumericFromInt(v), nil
		case float64:
			n, err := floatToNumeric(v)
			return valueOr(n, err)
		}
	}
	return v, nil
}

func castElements(from, to Type, level castLevel) castFn {
	elem := findCast(*from.Elem, *to.Elem, level)
	if elem == nil {
		return nil
	}
	return func(v Value) (Value, error) {
		list := v.([]Value)
		out := make([]Value, len(list))
		for i, e := range list {
			if e == nil {
				continue
			}
			var err error
			if out[i], err = elem(e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
}

func castTime(from, to Type) castFn {
	switch {
	case to.OID == OIDMzTimestamp && (from.class() == classTime):
		return func(v Value) (Value, error) {
			ms := v.(time.Time).UnixMilli()
			if ms < 0 {
				return nil, evalError("22008", "timestamp out of range")
			}
			return ms, nil
		}
	case to.OID == OIDMzTimestamp && from.class() == classNumber && !from.isFloat():
		return func(v Value) (Value, error) {
			ms, ok := int64(0), true
			switch v := v.(type) {
			case int64:
				ms = v
			case Numeric:
				ms, ok = v.Int64()
			}
			if !ok || ms < 0 {
				return nil, evalError("22003", "%s mz_timestamp out of range", rustQuote(string(EncodeText(v, from))))
			}
			return ms, nil
		}
	case from.OID == OIDMzTimestamp && (to.OID == OIDTimestamp || to.OID == OIDTimestamptz):
		return func(v Value) (Value, error) { return time.UnixMilli(v.(int64)).UTC(), nil }
	case from.class() == classTime && from.OID != OIDMzTimestamp && to.OID == OIDDate:
		return func(v Value) (Value, error) { return midnight(v.(time.Time)), nil }
	case from.class() == classTime && to.class() == classTime && from.OID != OIDMzTimestamp:
		return identity
	}
	return nil
}

// castOdd holds the explicit casts that fit no class.
func castOdd(from, to Type) castFn {
	switch {
	case from.OID == OIDBool && to.isInteger():
		return func(v Value) (Value, error) { return int64(boolInt(v.(bool))), nil }
	case from.isInteger() && to.OID == OIDBool:
		return func(v Value) (Value, error) { return v.(int64) != 0, nil }
	case from.OID == OIDJSONB && (to.class() == classNumber || to.OID == OIDBool):
		return func(v Value) (Value, error) {
			j := v.(JSON)
			kind := jsonTypeName(j.value())
			if want := map[bool]string{true: "boolean", false: "number"}[to.OID == OIDBool]; kind != want {
				if kind == "null" {
					return nil, nil
				}
				return nil, evalError("22023", "cannot cast jsonb %s to type %s", kind, to)
			}
			if to.OID == OIDBool {
				return j == "true", nil
			}
			n, err := ParseNumeric(string(j))
			if err != nil {
				return nil, err
			}
			return castNumber(n, to)
		}
	case to.OID == OIDJSONB:
		return nil
	}
	return nil
}

// applyMods applies a type's modifiers after an explicit cast.
func (t typeName) applyMods() (castFn, error) {
	if len(t.mods) == 0 {
		return nil, nil
	}
	switch t.name {
	case "varchar":
		limit := int(t.mods[0])
		return func(v Value) (Value, error) {
			r := []rune(v.(string))
			return string(r[:min(limit, len(r))]), nil
		}, nil
	case "numeric":
		if len(t.mods) < 2 {
			return func(v Value) (Value, error) { return v.(Numeric).Round(0), nil }, nil
		}
		scale := int(t.mods[1])
		return func(v Value) (Value, error) {
			return v.(Numeric).Round(scale), nil
		}, nil
	case "timestamp", "timestamptz":
		if t.mods[0] == 6 {
			return nil, nil
		}
	}
	return nil, refuse("type modifiers of %s are not supported", t.name)
}

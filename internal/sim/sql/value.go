package sql

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
)

// compareValues orders two values of one type that are not NULL.
func compareValues(a, b Value) int {
	switch a := a.(type) {
	case int64:
		return cmp.Compare(a, b.(int64))
	case string:
		return strings.Compare(a, b.(string))
	case bool:
		return boolInt(a) - boolInt(b.(bool))
	case float64:
		return compareFloats(a, b.(float64))
	case Numeric:
		return a.Cmp(b.(Numeric))
	case time.Time:
		return a.Compare(b.(time.Time))
	case Interval:
		return a.span().Cmp(b.(Interval).span())
	case []byte:
		return bytes.Compare(a, b.([]byte))
	case JSON:
		return strings.Compare(string(a), string(b.(JSON)))
	case []Value:
		return slices.CompareFunc(a, b.([]Value), func(x, y Value) int { return compareNulls(x, y, false) })
	}
	return 0
}

// compareFloats orders NaN above everything, as SQL does.
func compareFloats(a, b float64) int {
	switch an, bn := math.IsNaN(a), math.IsNaN(b); {
	case an && bn:
		return 0
	case an:
		return 1
	case bn:
		return -1
	}
	return cmp.Compare(a, b)
}

// compareNulls is compareValues with a place for NULL.
func compareNulls(a, b Value, nullsFirst bool) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return boolSign(!nullsFirst)
	case b == nil:
		return boolSign(nullsFirst)
	}
	return compareValues(a, b)
}

func boolSign(positive bool) int {
	if positive {
		return 1
	}
	return -1
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// appendKey appends a form of v that is equal for equal values of one type,
// NULL included, and that no other sequence of values begins with.
func appendKey(dst []byte, v Value) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, 0)
	case bool:
		return append(dst, 1, byte(boolInt(v)))
	case int64:
		return binary.BigEndian.AppendUint64(append(dst, 2), uint64(v))
	case float64:
		if v == 0 {
			v = 0 // -0 equals 0
		}
		if math.IsNaN(v) {
			v = math.NaN()
		}
		return binary.BigEndian.AppendUint64(append(dst, 3), math.Float64bits(v))
	case time.Time:
		return binary.BigEndian.AppendUint64(append(dst, 4), uint64(v.UnixMicro()))
	case []Value:
		dst = binary.BigEndian.AppendUint32(append(dst, 5), uint32(len(v)))
		for _, e := range v {
			dst = appendKey(dst, e)
		}
		return dst
	case string:
		return appendKeyText(dst, 6, v)
	case JSON:
		return appendKeyText(dst, 7, string(v))
	case []byte:
		return appendKeyText(dst, 8, string(v))
	case Numeric:
		return appendKeyText(dst, 9, v.trim().String())
	case Interval:
		return appendKeyText(dst, 10, v.span().String())
	}
	return dst
}

func appendKeyText(dst []byte, tag byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(append(dst, tag), uint32(len(s))), s...)
}

func rowKey(row []Value) string {
	var dst []byte
	for _, v := range row {
		dst = appendKey(dst, v)
	}
	return string(dst)
}

// floatToNumeric is the numeric that prints like the float.
func floatToNumeric(f float64) (Numeric, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Numeric{}, refuse("NaN and infinity are not supported in numeric")
	}
	return ParseNumeric(string(appendFloat(nil, f, Float8)))
}

// roundFloat rounds to an integer, ties to even; ok false: out of range.
func roundFloat(f float64) (int64, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	i, _ := new(big.Float).SetFloat64(math.RoundToEven(f)).Int(nil)
	return i.Int64(), i.IsInt64()
}

package sql

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/big"
	"strings"
	"time"
)

// epoch is where the binary formats of times start.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

var be = binary.BigEndian

// EncodeBinary writes a value that is not NULL in the binary format of the
// wire; the result is not nil. Lists and mz_aclitems have none: that error is
// for Bind.
func EncodeBinary(v Value, t Type) ([]byte, error) {
	switch v := v.(type) {
	case bool:
		if v {
			return []byte{1}, nil
		}
		return []byte{0}, nil
	case int64:
		return encodeInt(v, t), nil
	case float64:
		if t.OID == OIDFloat4 {
			return be.AppendUint32(nil, math.Float32bits(float32(v))), nil
		}
		return be.AppendUint64(nil, math.Float64bits(v)), nil
	case Numeric:
		return encodeNumeric(v), nil
	case string:
		switch t.OID {
		case OIDUUID:
			b, err := hex.DecodeString(strings.ReplaceAll(v, "-", ""))
			return b, err
		case OIDMzACLItem:
			return nil, errNoBinary(t)
		}
		return []byte(v), nil
	case JSON:
		return append([]byte{1}, v...), nil
	case []byte:
		return v, nil
	case time.Time:
		if t.OID == OIDDate {
			return be.AppendUint32(nil, uint32(int32(midnight(v).Sub(epoch)/(24*time.Hour)))), nil
		}
		return be.AppendUint64(nil, uint64(v.UnixMicro()-epoch.UnixMicro())), nil
	case Interval:
		b := be.AppendUint64(nil, uint64(v.Micros))
		return be.AppendUint32(be.AppendUint32(b, uint32(v.Days)), uint32(v.Months)), nil
	case []Value:
		if !t.isArray() {
			return nil, errNoBinary(t)
		}
		return encodeArray(v, t)
	}
	return nil, errNoBinary(t)
}

// HasBinary says whether a type can be sent in binary format; a result format
// that asks for it otherwise fails at Bind with the error.
func HasBinary(t Type) error {
	if t.isList() || t.OID == OIDMzACLItem || t.Elem != nil && t.Elem.OID == OIDMzACLItem {
		return errNoBinary(t)
	}
	return nil
}

func errNoBinary(t Type) *Error {
	return &Error{Code: "08P01", NewCode: "42883", Message: "binary encoding of " + t.Name + " types is not implemented"}
}

func encodeInt(v int64, t Type) []byte {
	switch t.OID {
	case OIDInt2, OIDUint2:
		return be.AppendUint16(nil, uint16(v))
	case OIDInt4, OIDUint4, OIDOid:
		return be.AppendUint32(nil, uint32(v))
	case OIDMzTimestamp:
		return appendText(nil, v, t)
	}
	return be.AppendUint64(nil, uint64(v))
}

// encodeNumeric writes groups of four decimal digits.
func encodeNumeric(n Numeric) []byte {
	sign := uint16(0)
	if n.Sign() < 0 {
		sign = 0x4000
	}
	pad := (4 - n.scale%4) % 4
	coef := new(big.Int).Abs(n.big())
	coef.Mul(coef, pow10(pad))
	var groups []uint16
	base, rem := big.NewInt(10000), new(big.Int)
	for coef.Sign() != 0 {
		coef.QuoRem(coef, base, rem)
		groups = append(groups, uint16(rem.Int64()))
	}
	weight := len(groups) - 1 - (n.scale+pad)/4
	for len(groups) > 0 && groups[0] == 0 {
		groups = groups[1:]
	}
	if len(groups) == 0 {
		weight = 0
	}
	b := be.AppendUint16(nil, uint16(len(groups)))
	b = be.AppendUint16(b, uint16(int16(weight)))
	b = be.AppendUint16(b, sign)
	b = be.AppendUint16(b, uint16(n.scale))
	for i := len(groups) - 1; i >= 0; i-- {
		b = be.AppendUint16(b, groups[i])
	}
	return b
}

func encodeArray(list []Value, t Type) ([]byte, error) {
	hasNull := uint32(0)
	var body []byte
	for _, e := range list {
		if e == nil {
			hasNull = 1
			body = be.AppendUint32(body, math.MaxUint32)
			continue
		}
		b, err := EncodeBinary(e, *t.Elem)
		if err != nil {
			return nil, err
		}
		body = append(be.AppendUint32(body, uint32(len(b))), b...)
	}
	dims := uint32(1)
	if len(list) == 0 {
		dims = 0
	}
	b := be.AppendUint32(nil, dims)
	b = be.AppendUint32(b, hasNull)
	b = be.AppendUint32(b, t.Elem.OID)
	if dims == 1 {
		b = be.AppendUint32(b, uint32(len(list)))
		b = be.AppendUint32(b, 1)
	}
	return append(b, body...), nil
}

// DecodeBinary reads a parameter in the binary format of the wire.
func DecodeBinary(b []byte, oid uint32) (Value, error) {
	t, ok := TypeByOID(oid)
	if !ok {
		return nil, refuse("parameters of type OID %d are not supported", oid)
	}
	return decodeBinary(b, t)
}

func decodeBinary(b []byte, t Type) (Value, error) {
	if want := binarySize(t); want > 0 && len(b) != want {
		return nil, &Error{Code: "08P01", Message: "incorrect binary data format of type " + t.Name}
	}
	switch t.OID {
	case OIDBool:
		return b[0] != 0, nil
	case OIDInt2:
		return int64(int16(be.Uint16(b))), nil
	case OIDInt4:
		return int64(int32(be.Uint32(b))), nil
	case OIDInt8, OIDUint8:
		return int64(be.Uint64(b)), nil
	case OIDUint2:
		return int64(be.Uint16(b)), nil
	case OIDUint4, OIDOid:
		return int64(be.Uint32(b)), nil
	case OIDFloat4:
		return float64(math.Float32frombits(be.Uint32(b))), nil
	case OIDFloat8:
		return math.Float64frombits(be.Uint64(b)), nil
	case OIDText, OIDVarchar, OIDBpchar, OIDName, OIDChar, OIDMzTimestamp:
		return parseText(string(b), t)
	case OIDBytea:
		return append([]byte{}, b...), nil
	case OIDUUID:
		return formatUUID(b), nil
	case OIDJSONB:
		if len(b) < 1 || b[0] != 1 {
			return nil, &Error{Code: "08P01", Message: "unsupported jsonb version"}
		}
		j, err := ParseJSON(string(b[1:]))
		return valueOr(j, err)
	case OIDDate:
		return epoch.AddDate(0, 0, int(int32(be.Uint32(b)))), nil
	case OIDTimestamp, OIDTimestamptz:
		return time.UnixMicro(epoch.UnixMicro() + int64(be.Uint64(b))).UTC(), nil
	case OIDInterval:
		return Interval{Micros: int64(be.Uint64(b)), Days: int32(be.Uint32(b[8:])), Months: int32(be.Uint32(b[12:]))}, nil
	case OIDNumeric:
		return decodeNumeric(b)
	}
	if t.isArray() {
		return decodeArray(b, t)
	}
	return nil, errNoBinary(t)
}

// binarySize is the length of fixed-size types; 0: any.
func binarySize(t Type) int {
	if t.OID == OIDMzTimestamp || t.OID == OIDName || t.OID == OIDChar || t.Size < 0 {
		return 0
	}
	return int(t.Size)
}

func decodeNumeric(b []byte) (Value, error) {
	bad := &Error{Code: "08P01", Message: "incorrect binary data format of type numeric"}
	if len(b) < 8 {
		return nil, bad
	}
	n, weight := int(be.Uint16(b)), int(int16(be.Uint16(b[2:])))
	sign, scale := be.Uint16(b[4:]), int(be.Uint16(b[6:]))
	if len(b) != 8+2*n || sign&^0x4000 != 0 || n > 1000 || weight > 1000 || weight < -1000 || scale > 1000 {
		return nil, bad
	}
	coef := new(big.Int)
	for i := range n {
		coef.Mul(coef, big.NewInt(10000))
		coef.Add(coef, big.NewInt(int64(be.Uint16(b[8+2*i:]))))
	}
	exp := 4 * (weight - n + 1)
	num := Numeric{coef: coef}
	if exp >= 0 {
		coef.Mul(coef, pow10(exp))
	} else {
		num.scale = -exp
	}
	if sign != 0 {
		coef.Neg(coef)
	}
	res, err := num.fit()
	return valueOr(res, err)
}

func decodeArray(b []byte, t Type) (Value, error) {
	bad := &Error{Code: "08P01", Message: "incorrect binary data format of type " + t.Name}
	if len(b) < 12 {
		return nil, bad
	}
	dims := be.Uint32(b)
	b = b[12:]
	switch {
	case dims == 0:
		return []Value{}, nil
	case dims != 1:
		return nil, refuse("arrays of several dimensions are not supported")
	case len(b) < 8:
		return nil, bad
	}
	n := int(be.Uint32(b))
	b = b[8:]
	list := []Value{}
	for range n {
		if len(b) < 4 {
			return nil, bad
		}
		size := int32(be.Uint32(b))
		b = b[4:]
		if size < 0 {
			list = append(list, nil)
			continue
		}
		if len(b) < int(size) {
			return nil, bad
		}
		v, err := decodeBinary(b[:size], *t.Elem)
		if err != nil {
			return nil, err
		}
		list, b = append(list, v), b[size:]
	}
	return list, nil
}

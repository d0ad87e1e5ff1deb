package sql

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
)

// EncodeText writes a value that is not NULL in the text format of the wire.
// The result is never nil, which would mean NULL.
func EncodeText(v Value, t Type) []byte { return appendText([]byte{}, v, t) }

func appendText(dst []byte, v Value, t Type) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(dst, 't')
		}
		return append(dst, 'f')
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		return appendFloat(dst, v, t)
	case Numeric:
		return append(dst, v.String()...)
	case string:
		return append(dst, v...)
	case JSON:
		return append(dst, v...)
	case []byte:
		return hex.AppendEncode(append(dst, `\x`...), v)
	case time.Time:
		switch t.OID {
		case OIDDate:
			return v.UTC().AppendFormat(dst, "2006-01-02")
		case OIDTimestamptz:
			return append(append(dst, formatTime(v)...), "+00"...)
		}
		return append(dst, formatTime(v)...)
	case Interval:
		return append(dst, v.String()...)
	case []Value:
		return appendList(dst, v, t)
	}
	return dst
}

func appendFloat(dst []byte, f float64, t Type) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	bits, digits := 64, 15
	if t.OID == OIDFloat4 {
		bits, digits = 32, 6
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= math.Pow10(digits)) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

// appendList writes {a,"b c",NULL}.
func appendList(dst []byte, list []Value, t Type) []byte {
	dst = append(dst, '{')
	for i, e := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if e == nil {
			dst = append(dst, "NULL"...)
			continue
		}
		text := string(appendText(nil, e, *t.Elem))
		if _, nested := e.([]Value); nested || !needsListQuotes(text) {
			dst = append(dst, text...)
			continue
		}
		dst = append(dst, '"')
		for j := range len(text) {
			if text[j] == '"' || text[j] == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, text[j])
		}
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

func needsListQuotes(s string) bool {
	return s == "" || strings.EqualFold(s, "NULL") || strings.ContainsAny(s, "{},\"\\ \t\n\r\v\f")
}

// DecodeText reads a value in the text format of the wire.
func DecodeText(b []byte, oid uint32) (Value, error) {
	t, ok := TypeByOID(oid)
	if !ok {
		return nil, refuse("parameters of type OID %d are not supported", oid)
	}
	return parseText(string(b), t)
}

// parseText reads the text form of a type: what a cast from text does.
func parseText(s string, t Type) (Value, error) {
	switch t.OID {
	case OIDText, OIDVarchar, OIDName, OIDBpchar, OIDMzACLItem:
		return s, nil
	case OIDChar:
		if len(s) > 1 {
			s = s[:1]
		}
		return s, nil
	case OIDBool:
		return parseBool(s)
	case OIDInt2, OIDInt4, OIDInt8, OIDUint2, OIDUint4, OIDUint8, OIDOid:
		return parseInt(s, t)
	case OIDMzTimestamp:
		return parseMzTimestamp(s)
	case OIDFloat4, OIDFloat8:
		return parseFloat(s, t)
	case OIDNumeric:
		n, err := ParseNumeric(s)
		return valueOr(n, err)
	case OIDDate:
		d, err := parseTime(s, t.Name)
		return valueOr(midnight(d), err)
	case OIDTimestamp, OIDTimestamptz:
		ts, err := parseTime(s, t.Name)
		return valueOr(ts, err)
	case OIDInterval:
		iv, err := parseInterval(s)
		if err != nil {
			return nil, err
		}
		return iv, nil
	case OIDUUID:
		return parseUUID(s)
	case OIDJSONB:
		j, err := ParseJSON(s)
		return valueOr(j, err)
	case OIDBytea:
		return parseBytea(s)
	}
	if t.Elem != nil {
		return parseList(s, t)
	}
	return nil, refuse("text of type %s is not supported", t)
}

// valueOr drops the value when there is an error.
func valueOr(v Value, err error) (Value, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func parseBool(s string) (Value, error) {
	switch w := strings.ToLower(strings.TrimSpace(s)); {
	case w == "":
	case w == "on", w == "1", strings.HasPrefix("true", w), strings.HasPrefix("yes", w):
		return true, nil
	case w == "off", w == "of", w == "0", strings.HasPrefix("false", w), strings.HasPrefix("no", w):
		return false, nil
	}
	return nil, evalError("22P02", "invalid input syntax for type boolean: %s", rustQuote(s))
}

func parseInt(s string, t Type) (Value, error) {
	text := strings.TrimSpace(s)
	n, err := strconv.ParseInt(strings.TrimPrefix(text, "+"), 10, 64)
	if err != nil || strings.HasPrefix(text, "+-") {
		why := "invalid digit found in string"
		switch {
		case text == "":
			why = "cannot parse integer from empty string"
		case isRangeError(err):
			why = "number too large to fit in target type"
		}
		return nil, evalError("22P02", "invalid input syntax for type %s: %s: %s", t, why, rustQuote(s))
	}
	if !inRange(n, t) {
		return nil, evalError("22P02", "invalid input syntax for type %s: number too large to fit in target type: %s", t, rustQuote(s))
	}
	return n, nil
}

func isRangeError(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

// inRange says whether an integer fits its type.
func inRange(n int64, t Type) bool {
	switch t.OID {
	case OIDInt2:
		return n == int64(int16(n))
	case OIDInt4:
		return n == int64(int32(n))
	case OIDUint2:
		return n == int64(uint16(n))
	case OIDUint4, OIDOid:
		return n == int64(uint32(n))
	case OIDUint8, OIDMzTimestamp:
		return n >= 0
	}
	return true
}

// parseMzTimestamp reads milliseconds, or a timestamp.
func parseMzTimestamp(s string) (Value, error) {
	if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil && n >= 0 {
		return n, nil
	}
	t, err := parseTime(s, "mz_timestamp")
	if err != nil {
		return nil, evalError("22P02", "invalid input syntax for type mz_timestamp: could not parse mz_timestamp: could not parse as number of milliseconds since epoch; could not parse as date and time: %s", rustQuote(s))
	}
	return t.UnixMilli(), nil
}

func parseFloat(s string, t Type) (Value, error) {
	bits := 64
	if t.OID == OIDFloat4 {
		bits = 32
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(s), bits)
	if err != nil || strings.ContainsAny(s, "xX_pP") {
		if isRangeError(err) {
			return nil, evalError("22003", "%s is out of range for type %s", rustQuote(s), t)
		}
		return nil, evalError("22P02", "invalid input syntax for type %s: %s", t, rustQuote(s))
	}
	return f, nil
}

// parseUUID reads a UUID and gives it in lower case with dashes.
func parseUUID(s string) (Value, error) {
	digits := strings.ReplaceAll(strings.Trim(strings.TrimSpace(s), "{}"), "-", "")
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != 16 {
		return nil, evalError("22P02", "invalid input syntax for type uuid: %s", rustQuote(s))
	}
	return formatUUID(b), nil
}

func formatUUID(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func parseBytea(s string) (Value, error) {
	if h, ok := strings.CutPrefix(s, `\x`); ok {
		b, err := hex.DecodeString(h)
		if err != nil {
			return nil, evalError("22P02", "invalid input syntax for type bytea: %s", rustQuote(s))
		}
		return b, nil
	}
	b := []byte{}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			b = append(b, s[i])
		case i+1 < len(s) && s[i+1] == '\\':
			b = append(b, '\\')
			i++
		case i+3 < len(s):
			n, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
			if err != nil {
				return nil, evalError("22P02", "invalid input syntax for type bytea: invalid escape sequence: %s", rustQuote(s))
			}
			b = append(b, byte(n))
			i += 3
		default:
			return nil, evalError("22P02", "invalid input syntax for type bytea: ends with escape character: %s", rustQuote(s))
		}
	}
	return b, nil
}

// parseList reads {a,"b c",NULL} of one dimension.
func parseList(s string, t Type) (Value, error) {
	bad := func(why string) error {
		return evalError("22P02", "invalid input syntax for type %s: %s: %s", t, why, rustQuote(s))
	}
	text := strings.TrimSpace(s)
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return nil, bad("malformed array literal")
	}
	text = text[1 : len(text)-1]
	list := []Value{}
	for i := 0; ; {
		for i < len(text) && text[i] == ' ' {
			i++
		}
		if i >= len(text) {
			if len(list) > 0 {
				return nil, bad("malformed array literal")
			}
			return list, nil
		}
		elem, quoted, n := listElement(text[i:])
		if n < 0 {
			return nil, bad("malformed array literal")
		}
		i += n
		if !quoted && strings.EqualFold(elem, "NULL") {
			list = append(list, nil)
		} else {
			v, err := parseText(elem, *t.Elem)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		switch {
		case i >= len(text):
			return list, nil
		case text[i] != ',':
			return nil, bad("malformed array literal")
		}
		i++
	}
}

// listElement reads one element; n is how much it took, -1 when malformed.
func listElement(s string) (elem string, quoted bool, n int) {
	if s[0] != '"' {
		n = strings.IndexByte(s, ',')
		if n < 0 {
			n = len(s)
		}
		elem = strings.TrimSpace(s[:n])
		if elem == "" || strings.ContainsAny(elem, `{}"`) {
			return "", false, -1
		}
		return elem, false, n
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			for i++; i < len(s) && s[i] == ' '; i++ {
			}
			return b.String(), true, i
		default:
			b.WriteByte(s[i])
		}
	}
	return "", true, -1
}

package sql

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// textForms are types with texts that print as they are read.
var textForms = []struct {
	t     Type
	texts []string
}{
	{Bool, []string{"t", "f"}},
	{Int2, []string{"-32768", "7"}},
	{Int4, []string{"-2147483648", "0"}},
	{Int8, []string{"9223372036854775807", "-1"}},
	{Oid, []string{"4294967295"}},
	{Float8, []string{"1.5", "-0.25", "1e+20", "NaN", "Infinity", "123456789012345"}},
	{Float4, []string{"0.5", "1e+06"}},
	{NumericT, []string{"0", "1.5", "-0.001", "12345678901234567890.123", "10000", "0.00001234", "-99990000"}},
	{Text, []string{"", "aé\n"}},
	{Varchar, []string{"x"}},
	{Bytea, []string{`\x`, `\x00ff`}},
	{Date, []string{"2026-11-22", "1999-12-31"}},
	{Timestamp, []string{"2026-11-22 21:02:48.351", "1970-01-01 00:00:00"}},
	{Timestamptz, []string{"2026-11-22 21:02:48+00", "1999-01-01 00:00:00.000001+00"}},
	{IntervalT, []string{"00:00:02", "1 day 02:03:04.5", "-00:01:00", "1 year 2 months", "-1 days +01:00:00"}},
	{UUID, []string{"00112233-4455-6677-8899-aabbccddeeff"}},
	{JSONB, []string{`{"a":[1,2.5,null],"b":"<é>"}`, `null`}},
	{ArrayOf(Text), []string{`{}`, `{a,NULL,"b c","NULL",""}`, `{"a\"b"}`}},
	{ArrayOf(Int4), []string{`{1,NULL,-3}`}},
	{Uint4, []string{"4294967295"}},
	{Uint8, []string{"18"}},
	{MzTimestamp, []string{"1767225600000"}},
}

func TestTextRoundTrip(t *testing.T) {
	for _, f := range textForms {
		for _, text := range f.texts {
			v, err := DecodeText([]byte(text), f.t.OID)
			if err != nil {
				t.Errorf("%s %q: %v", f.t.Name, text, err)
				continue
			}
			if got := EncodeText(v, f.t); got == nil || string(got) != text {
				t.Errorf("%s: got %q, want %q", f.t.Name, got, text)
			}
		}
	}
	v, err := parseText(`{a,"b c"}`, ListOf(Text))
	if err != nil || string(EncodeText(v, ListOf(Text))) != `{a,"b c"}` {
		t.Errorf("list: %v, %v", v, err)
	}
}

// TestBinaryAgainstDriver decodes what we encode with the driver, and the
// reverse: an error of ours must not cancel itself out.
func TestBinaryAgainstDriver(t *testing.T) {
	m := pgtype.NewMap()
	for _, f := range textForms {
		for _, text := range f.texts {
			v, err := DecodeText([]byte(text), f.t.OID)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := EncodeBinary(v, f.t)
			if err != nil || ours == nil {
				t.Errorf("%s %q: %v", f.t.Name, text, err)
				continue
			}
			back, err := DecodeBinary(ours, f.t.OID)
			if err != nil || compareNulls(back, v, false) != 0 {
				t.Errorf("%s %q: back as %v, %v", f.t.Name, text, back, err)
			}
			dt, ok := m.TypeForOID(f.t.OID)
			if !ok { // Materialize's own types: the driver knows them not
				continue
			}
			fromBinary, err := dt.Codec.DecodeValue(m, f.t.OID, pgtype.BinaryFormatCode, ours)
			if err != nil {
				t.Errorf("%s %q: the driver cannot read it: %v", f.t.Name, text, err)
				continue
			}
			wire := strings.NewReplacer("months", "mons").Replace(text)
			fromText, err := dt.Codec.DecodeValue(m, f.t.OID, pgtype.TextFormatCode, []byte(wire))
			if err != nil {
				t.Errorf("%s %q: the driver cannot read the text: %v", f.t.Name, text, err)
				continue
			}
			if a, b := printable(fromBinary), printable(fromText); a != b {
				t.Errorf("%s %q: the driver reads %s from binary, %s from text", f.t.Name, text, a, b)
			}
			if f.t.OID == OIDNumeric || f.t.OID == OIDInterval || text == "{}" { // the driver writes other, equal forms
				continue
			}
			theirs, err := m.Encode(f.t.OID, pgtype.BinaryFormatCode, fromText, nil)
			if err == nil && !bytes.Equal(theirs, ours) && f.t.OID != OIDJSONB {
				t.Errorf("%s %q: the driver writes %x, we write %x", f.t.Name, text, theirs, ours)
			}
		}
	}
}

// printable makes driver values comparable.
func printable(v any) string {
	if n, ok := v.(pgtype.Numeric); ok {
		f, err := n.Value()
		d, _ := ParseNumeric(fmt.Sprint(f))
		return fmt.Sprint(d, err)
	}
	return fmt.Sprintf("%v", v)
}

func TestNoBinary(t *testing.T) {
	for _, typ := range []Type{ListOf(Text), MzACLItem, ArrayOf(MzACLItem)} {
		var e *Error
		if err := HasBinary(typ); !errors.As(err, &e) || e.Code != "08P01" || e.NewCode != "42883" {
			t.Errorf("%s: %v", typ, err)
		}
	}
	if err := HasBinary(ArrayOf(Text)); err != nil {
		t.Error(err)
	}
	if _, err := EncodeBinary([]Value{"a"}, ListOf(Text)); err == nil {
		t.Error("a list has no binary form")
	}
}

func TestBadText(t *testing.T) {
	for _, c := range []struct {
		t    Type
		text string
		want string
	}{
		{Int4, "x", `invalid input syntax for type integer: invalid digit found in string: "x"`},
		{Int4, "3000000000", `invalid input syntax for type integer: number too large to fit in target type: "3000000000"`},
		{Bool, "maybe", `invalid input syntax for type boolean: "maybe"`},
		{NumericT, "1.2.3", `invalid input syntax for type numeric: "1.2.3"`},
		{UUID, "12", `invalid input syntax for type uuid: "12"`},
		{IntervalT, "1 parsec", `invalid input syntax for type interval: "1 parsec"`},
		{ArrayOf(Text), "{a", `invalid input syntax for type text[]: malformed array literal: "{a"`},
		{ArrayOf(Text), "{a,}", `invalid input syntax for type text[]: malformed array literal: "{a,}"`},
	} {
		_, err := DecodeText([]byte(c.text), c.t.OID)
		var e *Error
		if !errors.As(err, &e) || e.Message != c.want {
			t.Errorf("%s %q: %v, want %s", c.t.Name, c.text, err, c.want)
		}
	}
	for _, bad := range [][]byte{{}, {1, 2, 3}} {
		for _, f := range textForms {
			if _, err := DecodeBinary(bad, f.t.OID); err == nil && f.t.Size > 0 && f.t.OID != OIDMzTimestamp && f.t.OID != OIDName {
				t.Errorf("%s: %d bytes were read", f.t.Name, len(bad))
			}
		}
	}
	if _, err := DecodeText([]byte("x"), 4711); err == nil || !strings.Contains(err.Error(), "mzcanary simulator:") {
		t.Errorf("unknown type: %v", err)
	}
}

func TestTypesByName(t *testing.T) {
	for name, want := range map[string]Type{
		"int": Int4, "BIGINT": Int8, "double precision": Float8, "character varying(10)": Varchar, "timestamp with time zone": Timestamptz,
		"timestamptz": Timestamptz, "text[]": ArrayOf(Text), "_text": ArrayOf(Text), "text list": ListOf(Text), "int list list": ListOf(ListOf(Int4)),
		"pg_catalog.text": Text, "mz_catalog.uint8": Uint8, "mz_aclitem[]": ArrayOf(MzACLItem), "numeric(10, 2)": NumericT, "json": JSONB,
	} {
		if got, ok := TypeByName(name); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, bad := range []string{"nosuch", "", "int x", "other.text"} {
		if got, ok := TypeByName(bad); ok {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestCopyRows(t *testing.T) {
	cols := []Column{{Name: "k", Type: Int4, Nullable: true}, {Name: "v", Type: Text, Nullable: true}}
	for _, c := range []struct {
		copy Copy
		row  []Value
		line string
	}{
		{Copy{Format: "text"}, []Value{int64(70), "seventy"}, "70\tseventy\n"},
		{Copy{Format: "text"}, []Value{nil, "a\tb\\c\nd"}, "\\N\ta\\tb\\\\c\\nd\n"},
		{Copy{Format: "text", Delimiter: "|", Null: "-", NullSet: true}, []Value{nil, "a|b"}, "-|a\\|b\n"},
		{Copy{Format: "csv"}, []Value{int64(1), `a"b,c`}, "1,\"a\"\"b,c\"\n"},
		{Copy{Format: "csv"}, []Value{nil, ""}, ",\"\"\n"},
		{Copy{Format: "csv"}, []Value{int64(1), nil}, "1,\n"},
	} {
		line := EncodeCopyRow(&c.copy, c.row, cols)
		if string(line) != c.line {
			t.Errorf("got %q, want %q", line, c.line)
		}
		row, err := DecodeCopyRow(&c.copy, bytes.TrimSuffix(line, []byte("\n")), cols)
		if err != nil || !reflect.DeepEqual(row, c.row) {
			t.Errorf("%q: %v, %v", line, row, err)
		}
	}
	text := &Copy{Format: "text"}
	for _, line := range []string{"1", "1\ta\tb", "x\ta"} {
		if _, err := DecodeCopyRow(text, []byte(line), cols); err == nil {
			t.Errorf("%q was read", line)
		}
	}
}

func TestNumeric(t *testing.T) {
	num := func(s string) Numeric {
		n, err := ParseNumeric(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range [][4]string{
		{"1", "/", "3", "0.333333333333333333333333333333333333333"},
		{"2", "/", "3", "0.666666666666666666666666666666666666667"},
		{"-1", "/", "8", "-0.125"}, {"1", "+", "0.25", "1.25"}, {"1.5", "-", "2", "-0.5"}, {"1.20", "*", "5", "6"},
		{"7.5", "%", "-2", "1.5"}, {"-7", "%", "2", "-1"}, {"1e3", "+", "0", "1000"},
	} {
		v, err := numericArithmetic(c[1], num(c[0]), num(c[2]))
		if err != nil || v.(Numeric).String() != c[3] {
			t.Errorf("%s %s %s = %v, %v; want %s", c[0], c[1], c[2], v, err, c[3])
		}
	}
	for text, want := range map[string]string{"2.5": "3", "-2.5": "-3", "2.4999": "2", "-0.1": "0"} {
		if n := num(text).Round(0); n.String() != want {
			t.Errorf("%s rounds to %s", text, n)
		}
	}
	if n := num("155").Round(-1); n.String() != "160" {
		t.Errorf("155 rounds to %s", n)
	}
}

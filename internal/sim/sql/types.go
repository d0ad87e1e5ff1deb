package sql

import "strings"

// Value is a value of SQL:
//
//	NULL                                    nil
//	boolean                                 bool
//	integers, oid, uint*, mz_timestamp      int64
//	real, double precision                  float64
//	numeric                                 Numeric
//	text, varchar, name, uuid, mz_aclitem   string
//	bytea                                   []byte
//	jsonb                                   JSON
//	date, timestamp, timestamptz            time.Time (UTC)
//	interval                                Interval
//	lists and arrays of one dimension       []Value
//
// An mz_aclitem is in its text form, "grantee=privileges/grantor".
type Value any

// JSON is a jsonb value in its canonical text: compact, keys sorted, as the
// server prints it. [ParseJSON] makes one from any JSON text.
type JSON string

// Type is a type of SQL.
type Type struct {
	OID  uint32
	Name string // as mz_columns.type prints it: text, integer, bigint, boolean …
	Size int16  // for RowDescription; -1 variable
	Elem *Type  // of lists and arrays
}

// Column describes a column of a relation or of a result.
type Column struct {
	Name     string
	Type     Type
	TypeMod  int32 // -1: none
	Nullable bool
}

// OIDs of the types the language knows.
const (
	OIDBool        = 16
	OIDBytea       = 17
	OIDChar        = 18
	OIDName        = 19
	OIDInt8        = 20
	OIDInt2        = 21
	OIDInt4        = 23
	OIDText        = 25
	OIDOid         = 26
	OIDFloat4      = 700
	OIDFloat8      = 701
	OIDBpchar      = 1042
	OIDVarchar     = 1043
	OIDDate        = 1082
	OIDTimestamp   = 1114
	OIDTimestamptz = 1184
	OIDInterval    = 1186
	OIDNumeric     = 1700
	OIDRecord      = 2249
	OIDUUID        = 2950
	OIDJSONB       = 3802
	OIDList        = 16384
	OIDUint2       = 16460
	OIDUint4       = 16462
	OIDUint8       = 16464
	OIDMzTimestamp = 16552
	OIDMzACLItem   = 16566
)

// The types by name; lists and arrays are made with [ListOf] and [ArrayOf].
// Read-only.
var (
	Bool        = Type{OIDBool, "boolean", 1, nil}
	Bytea       = Type{OIDBytea, "bytea", -1, nil}
	PGChar      = Type{OIDChar, `"char"`, 1, nil}
	NameType    = Type{OIDName, "name", 64, nil}
	Int2        = Type{OIDInt2, "smallint", 2, nil}
	Int4        = Type{OIDInt4, "integer", 4, nil}
	Int8        = Type{OIDInt8, "bigint", 8, nil}
	Text        = Type{OIDText, "text", -1, nil}
	Oid         = Type{OIDOid, "oid", 4, nil}
	Float4      = Type{OIDFloat4, "real", 4, nil}
	Float8      = Type{OIDFloat8, "double precision", 8, nil}
	Char        = Type{OIDBpchar, "character", -1, nil}
	Varchar     = Type{OIDVarchar, "character varying", -1, nil}
	Date        = Type{OIDDate, "date", 4, nil}
	Timestamp   = Type{OIDTimestamp, "timestamp without time zone", 8, nil}
	Timestamptz = Type{OIDTimestamptz, "timestamp with time zone", 8, nil}
	IntervalT   = Type{OIDInterval, "interval", 16, nil}
	NumericT    = Type{OIDNumeric, "numeric", -1, nil}
	UUID        = Type{OIDUUID, "uuid", 16, nil}
	JSONB       = Type{OIDJSONB, "jsonb", -1, nil}
	Uint2       = Type{OIDUint2, "uint2", 2, nil}
	Uint4       = Type{OIDUint4, "uint4", 4, nil}
	Uint8       = Type{OIDUint8, "uint8", 8, nil}
	MzTimestamp = Type{OIDMzTimestamp, "mz_timestamp", 8, nil}
	MzACLItem   = Type{OIDMzACLItem, "mz_aclitem", -1, nil}
)

// scalarTypes lists the types with their names in casts and their array OIDs.
var scalarTypes = []struct {
	t     Type
	name  string
	array uint32
}{
	{Bool, "bool", 1000}, {Bytea, "bytea", 1001}, {PGChar, "char", 1002}, {NameType, "name", 1003}, {Int8, "int8", 1016},
	{Int2, "int2", 1005}, {Int4, "int4", 1007}, {Text, "text", 1009}, {Oid, "oid", 1028}, {Float4, "float4", 1021},
	{Float8, "float8", 1022}, {Char, "bpchar", 1014}, {Varchar, "varchar", 1015}, {Date, "date", 1182},
	{Timestamp, "timestamp", 1115}, {Timestamptz, "timestamptz", 1185}, {IntervalT, "interval", 1187},
	{NumericT, "numeric", 1231}, {UUID, "uuid", 2951}, {JSONB, "jsonb", 3807}, {Uint2, "uint2", 16461},
	{Uint4, "uint4", 16463}, {Uint8, "uint8", 16465}, {MzTimestamp, "mz_timestamp", 16553}, {MzACLItem, "mz_aclitem", 16567},
}

// TypeByOID finds a type; ok false: unknown to the simulator. The element
// type of a list cannot be known from its OID and is given as text.
func TypeByOID(oid uint32) (t Type, ok bool) {
	if oid == OIDList {
		return ListOf(Text), true
	}
	for _, s := range scalarTypes {
		switch oid {
		case s.t.OID:
			return s.t, true
		case s.array:
			return ArrayOf(s.t), true
		}
	}
	return Type{}, false
}

// TypeByName finds a type by a name SQL knows it by: "int", "bigint",
// "timestamp with time zone", "text[]", "text list".
func TypeByName(name string) (t Type, ok bool) {
	p, lexErr := newParser(name)
	if lexErr != nil {
		return Type{}, false
	}
	var tn typeName
	if p.catch(func() { tn = p.typeName() }) != nil || !p.at(tokEOF) {
		return Type{}, false
	}
	t, err := tn.resolve()
	return t, err == nil
}

// resolve finds the type; its error is what the server's planner says.
func (t typeName) resolve() (Type, error) {
	base, ok := typeByCatalogName(t.name)
	if !ok {
		return Type{}, planError("type %s does not exist", rustQuote(t.name))
	}
	if t.array {
		base = ArrayOf(base)
	}
	for range t.lists {
		base = ListOf(base)
	}
	return base, nil
}

func typeByCatalogName(name string) (Type, bool) {
	for _, s := range scalarTypes {
		if s.name == name || "_"+s.name == name {
			if name[0] == '_' {
				return ArrayOf(s.t), true
			}
			return s.t, true
		}
	}
	return Type{}, false
}

// catalogName is the name a cast gives to a column that has no other.
func (t Type) catalogName() string {
	for _, s := range scalarTypes {
		switch t.OID {
		case s.t.OID:
			return s.name
		case s.array:
			return "_" + s.name
		}
	}
	return t.Name
}

// typeMod is the type modifier of a declared column, -1 when there is none.
func (t typeName) typeMod() int32 {
	if len(t.mods) == 0 {
		return -1
	}
	switch t.name {
	case "varchar", "bpchar":
		return int32(t.mods[0]) + 4
	case "numeric":
		scale := int64(0)
		if len(t.mods) > 1 {
			scale = t.mods[1]
		}
		return int32(t.mods[0]<<16|scale) + 4
	case "timestamp", "timestamptz":
		return int32(t.mods[0])
	}
	return -1
}

// ArrayOf is the array type of elem; an array of arrays is the same array.
func ArrayOf(elem Type) Type {
	if elem.isArray() {
		return elem
	}
	for _, s := range scalarTypes {
		if s.t.OID == elem.OID {
			return Type{OID: s.array, Name: elem.Name + "[]", Size: -1, Elem: &elem}
		}
	}
	return Type{OID: 2277, Name: "anyarray", Size: -1, Elem: &elem}
}

// ListOf is the list type of elem.
func ListOf(elem Type) Type {
	return Type{OID: OIDList, Name: "list", Size: -1, Elem: &elem}
}

func (t Type) isList() bool  { return t.OID == OIDList }
func (t Type) isArray() bool { return t.Elem != nil && t.OID != OIDList }

// String names the type as errors do; lists with their element.
func (t Type) String() string {
	if t.isList() {
		return t.Elem.String() + " list"
	}
	return t.Name
}

// same says whether two types are the same type, elements included.
func (t Type) same(u Type) bool {
	if t.OID != u.OID {
		return false
	}
	return t.Elem == nil || u.Elem == nil || t.Elem.same(*u.Elem)
}

// typeClass groups types that convert into each other without a cast.
type typeClass uint8

const (
	classNone typeClass = iota
	classNumber
	classString
	classTime
)

func (t Type) class() typeClass {
	switch t.OID {
	case OIDInt2, OIDInt4, OIDInt8, OIDUint2, OIDUint4, OIDUint8, OIDFloat4, OIDFloat8, OIDNumeric, OIDOid:
		return classNumber
	case OIDText, OIDVarchar, OIDBpchar, OIDName, OIDChar:
		return classString
	case OIDDate, OIDTimestamp, OIDTimestamptz, OIDMzTimestamp:
		return classTime
	}
	return classNone
}

func (t Type) isInteger() bool {
	switch t.OID {
	case OIDInt2, OIDInt4, OIDInt8, OIDUint2, OIDUint4, OIDUint8, OIDOid:
		return true
	}
	return false
}

func (t Type) isFloat() bool { return t.OID == OIDFloat4 || t.OID == OIDFloat8 }

// typeList joins types for "function f(a, b) does not exist".
func typeList(types []Type) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.String()
	}
	return strings.Join(names, ", ")
}

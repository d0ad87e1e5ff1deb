package sql

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
	OIDTime        = 1083
	OIDTimestamp   = 1114
	OIDTimestamptz = 1184
	OIDInterval    = 1186
	OIDNumeric     = 1700
	OIDUUID        = 2950
	OIDJSONB       = 3802
	OIDList        = 16384
	OIDMap         = 16385
	OIDUint2       = 16460
	OIDUint4       = 16462
	OIDUint8       = 16464
	OIDMzTimestamp = 16552
	OIDMzACLItem   = 16566
)

// The types by name; lists and arrays are made with [ListOf] and [ArrayOf].
var (
	Bool        = Type{OIDBool, "boolean", 1, nil}
	Bytea       = Type{OIDBytea, "bytea", -1, nil}
	PGChar      = Type{OIDChar, "\"char\"", 1, nil}
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

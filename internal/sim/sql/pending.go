package sql

import (
	"context"
	"math/big"
)

// to be replaced file by file
func isReserved(s string) bool { return false }

type Query struct{ text string }

func (q *Query) Text() string { return q.text }

type Expr interface{ Text() string }

type operator interface{}

type Interval struct {
	Months int32
	Days   int32
	Micros int64
}
type Numeric struct {
	coef  *big.Int
	scale int32
}
type JSON string

// Parse splits and parses a whole simple-Query string; an empty string gives no statements.
// The error is *Error 42601 with Position.
func Parse(text string) ([]Statement, error) { return nil, refuse("not built yet") }

// ParseQuery parses one query, e.g. a view's definition.
func ParseQuery(text string) (*Query, error) { return nil, refuse("not built yet") }

// Relations are the names of the relations the query reads, each once, common table expressions left out.
func (q *Query) Relations() []Name { return nil }

// Constant says whether the query reads no relation.
func (q *Query) Constant() bool { return len(q.Relations()) == 0 }

// Plan resolves names and types.
func (q *Query) Plan(r Resolver, params []uint32) (*Plan, error) {
	return nil, refuse("not built yet")
}

// Eval computes the rows.
func (p *Plan) Eval(ctx context.Context, r Resolver, args []Value) ([][]Value, error) {
	return nil, refuse("not built yet")
}

// WritePlan is an INSERT, UPDATE or DELETE whose names and types are resolved.
type WritePlan struct {
	Params []uint32 // OIDs of $1, $2, …
}

// Changes is what a write does to its table. Update and Delete name rows by their index in the rows given to Eval.
type Changes struct {
	Insert [][]Value
	Update map[int][]Value
	Delete []int
}

func (s *Insert) Plan(r Resolver, table *Relation, params []uint32) (*WritePlan, error) {
	return nil, refuse("not built yet")
}
func (s *Update) Plan(r Resolver, table *Relation, params []uint32) (*WritePlan, error) {
	return nil, refuse("not built yet")
}
func (s *Delete) Plan(r Resolver, table *Relation, params []uint32) (*WritePlan, error) {
	return nil, refuse("not built yet")
}

// Eval computes the changes; rows are the table's rows now (not needed for an INSERT).
func (p *WritePlan) Eval(ctx context.Context, r Resolver, rows [][]Value, args []Value) (Changes, error) {
	return Changes{}, refuse("not built yet")
}

// EvalArgs computes the arguments of EXECUTE for parameters of the given types.
func EvalArgs(ctx context.Context, r Resolver, args []Expr, params []uint32) ([]Value, error) {
	return nil, refuse("not built yet")
}

// TypeByOID finds a type; ok false: unknown to the simulator.
func TypeByOID(oid uint32) (Type, bool) { return Type{}, false }

// TypeByName finds a type by its SQL name, e.g. "int", "text[]", "text list".
func TypeByName(name string) (Type, bool) { return Type{}, false }

// ListOf is the list type of elem; ArrayOf the array type.
func ListOf(elem Type) Type  { return Type{} }
func ArrayOf(elem Type) Type { return Type{} }

// EncodeText and EncodeBinary write a non-NULL value for the wire. EncodeBinary's error: 42883/08P01, no binary encoding (lists, aclitems).
func EncodeText(v Value, t Type) []byte                 { return nil }
func EncodeBinary(v Value, t Type) ([]byte, error)      { return nil, nil }
func DecodeText(b []byte, oid uint32) (Value, error)   { return nil, nil }
func DecodeBinary(b []byte, oid uint32) (Value, error) { return nil, nil }

// EncodeCopyRow writes a row for COPY TO in the format of c (text or csv), newline included.
func EncodeCopyRow(c *Copy, row []Value, cols []Column) []byte { return nil }

// DecodeCopyRow reads one line of COPY FROM, without its newline.
func DecodeCopyRow(c *Copy, line []byte, cols []Column) ([]Value, error) { return nil, nil }

// SplitIdents reads an identifier list as start-up values of search_path are read: "a, \"B\"" and, as the server does, "prod-deploy" as prod.
func SplitIdents(s string) ([]string, error) { return nil, nil }

// Numeric from int.
func NumericFromInt(n int64) Numeric { return Numeric{} }

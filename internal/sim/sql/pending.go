package sql

import (
	"context"
)

type operator interface{}

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

// EncodeCopyRow writes a row for COPY TO in the format of c (text or csv), newline included.
func EncodeCopyRow(c *Copy, row []Value, cols []Column) []byte { return nil }

// DecodeCopyRow reads one line of COPY FROM, without its newline.
func DecodeCopyRow(c *Copy, line []byte, cols []Column) ([]Value, error) { return nil, nil }

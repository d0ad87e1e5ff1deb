package sql

import "context"

// Resolver gives a query what it does not contain. It must be safe for the
// time of one call of Plan or Eval; queries keep nothing of it.
type Resolver interface {
	// Relation finds a relation by its name; its error is shown to the client
	// as it is ("unknown catalog item 'x'").
	Relation(name Name) (*Relation, error)
	// Function answers functions that need the session: name is lower-case
	// and without schema. handled false: refused as unsupported. Its types are
	// known to the language (see sessionFunctions).
	Function(name string, args []Value) (v Value, handled bool, err error)
}

// Relation is something a query can read.
type Relation struct {
	Columns []Column
	// Rows reads everything; the rows and their slices are only read.
	Rows func(ctx context.Context) ([][]Value, error)
}

// Plan is a query whose names and types are resolved.
type Plan struct {
	Columns []Column
	// Params are the OIDs of the parameters $1, $2, ….
	Params []uint32

	root   operator
	nparam int
}

// Describe resolves the query without evaluating it. params are the OIDs the
// client gave in Parse (0: not given); paramTypes has one entry per parameter.
func (q *Query) Describe(r Resolver, params []uint32) (cols []Column, paramTypes []uint32, err error) {
	p, err := q.Plan(r, params)
	if err != nil {
		return nil, nil, err
	}
	return p.Columns, p.Params, nil
}

// Eval plans and evaluates the query in one step; the types of args are
// inferred from their use.
func (q *Query) Eval(ctx context.Context, r Resolver, args []Value) ([][]Value, error) {
	p, err := q.Plan(r, nil)
	if err != nil {
		return nil, err
	}
	return p.Eval(ctx, r, args)
}

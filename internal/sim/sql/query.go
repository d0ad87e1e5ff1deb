package sql

import "context"

// Resolver gives a query what it does not contain. Nothing of it outlives the
// call of Plan or Eval it was given to.
type Resolver interface {
	// Relation finds a relation by its name; its error is shown to the client
	// as it is ("unknown catalog item 'x'"). Plan asks for the columns, Eval
	// again for the rows: the relation must have the same columns then.
	Relation(name Name) (*Relation, error)
	// Function answers functions that need the session: name is lower-case
	// and without schema, args are never NULL. handled false: refused as
	// unsupported (now() and mz_now() then tell the real time). The values
	// must have the types of the signature (see sessionFunctions).
	Function(name string, args []Value) (v Value, handled bool, err error)
}

// Relation is something a query can read.
type Relation struct {
	Columns []Column
	// Rows reads everything; the rows and their slices are only read. It gets
	// the context of Eval.
	Rows func(ctx context.Context) ([][]Value, error)
}

// Plan is a query whose names and types are resolved. It is immutable: it may
// be evaluated any number of times, from several goroutines at once.
type Plan struct {
	Columns []Column
	// Params are the OIDs of the parameters $1, $2, ….
	Params []uint32

	sub *subplan
}

// Plan resolves the query without evaluating it. params are the OIDs the
// client gave in Parse (0: not given).
func (q *Query) Plan(r Resolver, params []uint32) (*Plan, error) {
	p := newPlanner(r, params)
	sub, err := p.query(q, nil, nil)
	if err != nil {
		return nil, err
	}
	if err := p.allDecided(); err != nil {
		return nil, err
	}
	return &Plan{Columns: sub.cols, Params: p.params, sub: sub}, nil
}

// allDecided fails when nothing decided the type of a parameter.
func (p *planner) allDecided() error {
	for i, oid := range p.params {
		if oid == 0 {
			return planError("unable to infer type for parameter $%d", i+1)
		}
	}
	return nil
}

// Eval computes the rows. The rows are the caller's, their lists are not.
func (p *Plan) Eval(ctx context.Context, r Resolver, args []Value) ([][]Value, error) {
	return p.sub.rows(newEnv(ctx, r, args), nil)
}

func newEnv(ctx context.Context, r Resolver, args []Value) *env {
	return &env{ctx: ctx, r: r, args: args, memo: map[any]any{}}
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

// EvalArgs computes the arguments of EXECUTE for parameters of the given types.
func EvalArgs(ctx context.Context, r Resolver, args []Expr, params []uint32) ([]Value, error) {
	if len(args) != len(params) {
		return nil, planError("wrong number of parameters for prepared statement: expected %d, got %d", len(params), len(args))
	}
	p := newPlanner(r, nil)
	out := make([]Value, len(args))
	for i, x := range args {
		t, err := p.compile(x, newScope(nil, nil))
		if err != nil {
			return nil, err
		}
		want, ok := TypeByOID(params[i])
		if !ok {
			return nil, refuse("parameters of type OID %d are not supported", params[i])
		}
		c, ok := p.as(t, want, castAssignment)
		if !ok {
			return nil, planError("unable to cast given parameter $%d: expected %s, got %s", i+1, want, t.typ)
		}
		if out[i], err = c.eval(newEnv(ctx, r, nil), &frame{}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

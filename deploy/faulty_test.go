package deploy

import (
	"context"
	"fmt"
)

// faulty is a Warehouse with something around every call.
type faulty struct {
	Warehouse
	// around makes the call, or does not, or loses its answer.
	around func(ctx context.Context, what string, call func() error) error
}

// unreliable puts it around the warehouse of a program.
func unreliable(around func(ctx context.Context, what string, call func() error) error) func(*Options) {
	return func(o *Options) { o.Warehouse = faulty{o.Warehouse, around} }
}

var errCut = fmt.Errorf("cut: %w", ErrUnavailable)

// faultily makes a call with an answer; a lost answer is none.
func faultily[T any](ctx context.Context, f faulty, what string, call func() (T, error)) (out T, err error) {
	err = f.around(ctx, what, func() (err error) {
		out, err = call()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return out, nil
}

func (f faulty) Server(ctx context.Context) (ServerInfo, error) {
	return faultily(ctx, f, "server", func() (ServerInfo, error) { return f.Warehouse.Server(ctx) })
}

func (f faulty) Identify(ctx context.Context, database string, names []Ref) ([]Ref, error) {
	return faultily(ctx, f, "identify", func() ([]Ref, error) { return f.Warehouse.Identify(ctx, database, names) })
}

func (f faulty) Preflight(ctx context.Context, spec Spec, rollout string) ([]Finding, error) {
	return faultily(ctx, f, "preflight", func() ([]Finding, error) { return f.Warehouse.Preflight(ctx, spec, rollout) })
}

func (f faulty) Readiness(ctx context.Context, spec Spec, o ReadyOptions) (Readiness, error) {
	return faultily(ctx, f, "readiness", func() (Readiness, error) { return f.Warehouse.Readiness(ctx, spec, o) })
}

func (f faulty) Marks(ctx context.Context, spec Spec) ([]Mark, error) {
	return faultily(ctx, f, "marks", func() ([]Mark, error) { return f.Warehouse.Marks(ctx, spec) })
}

func (f faulty) BackendGone(ctx context.Context, backend Backend) (bool, error) {
	return faultily(ctx, f, "backend gone", func() (bool, error) { return f.Warehouse.BackendGone(ctx, backend) })
}

func (f faulty) Dependents(ctx context.Context, database string, refs []Ref) ([]Dependent, error) {
	return faultily(ctx, f, "dependents", func() ([]Dependent, error) { return f.Warehouse.Dependents(ctx, database, refs) })
}

func (f faulty) Subscriptions(ctx context.Context, clusters []Ref, ours []uint32) ([]Dependent, error) {
	return faultily(ctx, f, "subscriptions", func() ([]Dependent, error) { return f.Warehouse.Subscriptions(ctx, clusters, ours) })
}

func (f faulty) Foreign(ctx context.Context, ours []uint32) (map[string]int, error) {
	return faultily(ctx, f, "foreign", func() (map[string]int, error) { return f.Warehouse.Foreign(ctx, ours) })
}

func (f faulty) Prepare(ctx context.Context, statements []string) (Prepared, error) {
	return faultily(ctx, f, "prepare", func() (Prepared, error) { return f.Warehouse.Prepare(ctx, statements) })
}

func (f faulty) Grant(ctx context.Context, database string, grants []Grant) (int, error) {
	return faultily(ctx, f, "grant", func() (int, error) { return f.Warehouse.Grant(ctx, database, grants) })
}

func (f faulty) Revoke(ctx context.Context, database string, grants []Grant) error {
	return f.around(ctx, "revoke", func() error { return f.Warehouse.Revoke(ctx, database, grants) })
}

func (f faulty) Mark(ctx context.Context, database string, marks []Mark) error {
	return f.around(ctx, "mark", func() error { return f.Warehouse.Mark(ctx, database, marks) })
}

func (f faulty) Unmark(ctx context.Context, database string, refs []Ref) error {
	return f.around(ctx, "unmark", func() error { return f.Warehouse.Unmark(ctx, database, refs) })
}

func (f faulty) Barrier(ctx context.Context, database string, on Ref) error {
	return f.around(ctx, "barrier", func() error { return f.Warehouse.Barrier(ctx, database, on) })
}

func (f faulty) Drop(ctx context.Context, database string, ref Ref) error {
	return f.around(ctx, "drop", func() error { return f.Warehouse.Drop(ctx, database, ref) })
}

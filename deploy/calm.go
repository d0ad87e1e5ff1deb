package deploy

import (
	"context"
	"fmt"
	"sync"
)

// calm keeps catalog reads and waiting sessions apart, over all deployments: a read
// may cost the server more than the swap, and all of them share one connection.
// Whoever is about to close gates hushes the others first; their reads are called
// off, and new ones wait until the gates are open again. What the sessions wait for,
// the holder asks itself, past the calm.
//
// Lock order: mu is a leaf.
type calm struct {
	mu     sync.Mutex
	closed int                   // holders; reads wait while there is one
	opened chan struct{}         // closed when the last holder leaves
	reads  map[*reading]struct{} // under way
}

// reading is one call to the server that can be called off.
type reading struct {
	callOff context.CancelCauseFunc
	done    chan struct{}
}

// errCalledOff is the end of a read that was called off. It says nothing about the
// server, and is asked again.
var errCalledOff = fmt.Errorf("called off while sessions wait for a swap: %w", ErrUnavailable)

func newCalm() *calm { return &calm{reads: map[*reading]struct{}{}} }

// holder returns how somebody makes it quiet, and how they let the others speak
// again, which may be called whether or not it was.
func (c *calm) holder() (quiet func(context.Context), speak func()) {
	hushed := false
	quiet = func(ctx context.Context) {
		hushed = true
		c.hush(ctx)
	}
	speak = func() {
		if hushed {
			c.speak()
		}
	}
	return quiet, speak
}

// hush calls off what is being read, waits for its end or the context's, and keeps
// further reads waiting until speak.
func (c *calm) hush(ctx context.Context) {
	c.mu.Lock()
	if c.closed++; c.closed == 1 {
		c.opened = make(chan struct{})
	}
	var ends []chan struct{}
	for r := range c.reads {
		r.callOff(errCalledOff)
		ends = append(ends, r.done)
	}
	c.mu.Unlock()
	for _, end := range ends {
		select {
		case <-end:
		case <-ctx.Done():
			return
		}
	}
}

func (c *calm) speak() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed--; c.closed == 0 {
		close(c.opened)
	}
}

// read runs one read, once nobody holds sessions.
func (c *calm) read(ctx context.Context, ask func(context.Context) error) error {
	ctx, r, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end(r)
	if err := ask(ctx); err != nil {
		if context.Cause(ctx) == errCalledOff {
			return errCalledOff
		}
		return err
	}
	return nil
}

func (c *calm) begin(ctx context.Context) (context.Context, *reading, error) {
	for {
		c.mu.Lock()
		if c.closed == 0 {
			ctx, callOff := context.WithCancelCause(ctx)
			r := &reading{callOff: callOff, done: make(chan struct{})}
			c.reads[r] = struct{}{}
			c.mu.Unlock()
			return ctx, r, nil
		}
		opened := c.opened
		c.mu.Unlock()
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, nil, errCalledOff
		}
	}
}

func (c *calm) end(r *reading) {
	c.mu.Lock()
	delete(c.reads, r)
	c.mu.Unlock()
	r.callOff(nil)
	close(r.done)
}

// wait returns once nobody holds sessions.
func (c *calm) wait(ctx context.Context) error {
	return c.read(ctx, func(context.Context) error { return nil })
}

// calmWarehouse is a Warehouse whose reads keep the calm. What changes the catalog
// reads it too, so it does not begin either; but once begun it is not called off,
// for its outcome would be unknown. Nor does a holder wait for it: it may be waiting
// for the DDL connection, which the open transaction of the swap has.
type calmWarehouse struct {
	Warehouse
	calm *calm
}

// calmly reads one thing.
func calmly[T any](ctx context.Context, c *calm, ask func(context.Context) (T, error)) (out T, err error) {
	err = c.read(ctx, func(ctx context.Context) (err error) {
		out, err = ask(ctx)
		return err
	})
	return out, err
}

func (w calmWarehouse) Server(ctx context.Context) (ServerInfo, error) {
	return calmly(ctx, w.calm, w.Warehouse.Server)
}

func (w calmWarehouse) Identify(ctx context.Context, database string, names []Ref) ([]Ref, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) ([]Ref, error) { return w.Warehouse.Identify(ctx, database, names) })
}

func (w calmWarehouse) Preflight(ctx context.Context, spec Spec, rollout string) ([]Finding, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) ([]Finding, error) { return w.Warehouse.Preflight(ctx, spec, rollout) })
}

func (w calmWarehouse) Readiness(ctx context.Context, spec Spec, o ReadyOptions) (Readiness, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) (Readiness, error) { return w.Warehouse.Readiness(ctx, spec, o) })
}

func (w calmWarehouse) Marks(ctx context.Context, spec Spec) ([]Mark, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) ([]Mark, error) { return w.Warehouse.Marks(ctx, spec) })
}

func (w calmWarehouse) BackendGone(ctx context.Context, backend Backend) (bool, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) (bool, error) { return w.Warehouse.BackendGone(ctx, backend) })
}

func (w calmWarehouse) Dependents(ctx context.Context, database string, refs []Ref) ([]Dependent, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) ([]Dependent, error) { return w.Warehouse.Dependents(ctx, database, refs) })
}

func (w calmWarehouse) Subscriptions(ctx context.Context, clusters []Ref, ours []uint32) ([]Dependent, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) ([]Dependent, error) { return w.Warehouse.Subscriptions(ctx, clusters, ours) })
}

func (w calmWarehouse) Clusters(ctx context.Context, refs []Ref) ([]StandbyCluster, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) ([]StandbyCluster, error) { return w.Warehouse.Clusters(ctx, refs) })
}

func (w calmWarehouse) Foreign(ctx context.Context, ours []uint32) (map[string]int, error) {
	return calmly(ctx, w.calm, func(ctx context.Context) (map[string]int, error) { return w.Warehouse.Foreign(ctx, ours) })
}

func (w calmWarehouse) Mark(ctx context.Context, database string, marks []Mark) error {
	if err := w.calm.wait(ctx); err != nil {
		return err
	}
	return w.Warehouse.Mark(ctx, database, marks)
}

func (w calmWarehouse) Unmark(ctx context.Context, database string, refs []Ref) error {
	if err := w.calm.wait(ctx); err != nil {
		return err
	}
	return w.Warehouse.Unmark(ctx, database, refs)
}

func (w calmWarehouse) Grant(ctx context.Context, database string, grants []Grant) (int, error) {
	if err := w.calm.wait(ctx); err != nil {
		return 0, err
	}
	return w.Warehouse.Grant(ctx, database, grants)
}

func (w calmWarehouse) Revoke(ctx context.Context, database string, grants []Grant) error {
	if err := w.calm.wait(ctx); err != nil {
		return err
	}
	return w.Warehouse.Revoke(ctx, database, grants)
}

func (w calmWarehouse) Barrier(ctx context.Context, database string, on Ref) error {
	if err := w.calm.wait(ctx); err != nil {
		return err
	}
	return w.Warehouse.Barrier(ctx, database, on)
}

func (w calmWarehouse) Drop(ctx context.Context, database string, ref Ref) error {
	if err := w.calm.wait(ctx); err != nil {
		return err
	}
	return w.Warehouse.Drop(ctx, database, ref)
}

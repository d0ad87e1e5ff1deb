package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How often a lost session is looked for, and for how long before the look is
// started anew.
const (
	gonePoll    = 250 * time.Millisecond
	goneTimeout = 60 * time.Second
)

// heldPoll is how often it is looked for while sessions wait for its end.
const heldPoll = 25 * time.Millisecond

// awaitEnd waits until a lost session has ended or the context has; errors are
// looked past, for somebody waits behind this and it is bounded.
func awaitEnd(ctx context.Context, w Warehouse, backend uint32) {
	poll := time.NewTicker(heldPoll)
	defer poll.Stop()
	for ctx.Err() == nil {
		if gone, err := w.BackendGone(ctx, backend); err == nil && gone {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}

// awaitHeld comes before resolve after a restart: the COMMIT of the process before
// may still land, so the sessions that have come since are held until the session
// that sent it has ended, at the longest until the bound.
func awaitHeld(ctx context.Context, w Warehouse, backend uint32, hold Hold, bound time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	awaitEnd(ctx, w, backend)
	hold.Release()
}

// resolve finds out what became of a COMMIT whose answer was lost. The order is
// the proof: the session that sent it has ended, then a barrier was committed
// (which makes any DDL transaction that is still open fail), and only then the
// ids are read.
func resolve(ctx context.Context, w Warehouse, clock func() time.Time, s State, backend uint32) Resolved {
	began := clock()
	refs, err := resolveRefs(ctx, w, s, backend)
	now := clock()
	return Resolved{At: At{now}, Refs: refs, Took: now.Sub(began), Err: err}
}

func resolveRefs(ctx context.Context, w Warehouse, s State, backend uint32) ([]Ref, error) {
	if err := awaitGone(ctx, w, backend); err != nil {
		return nil, err
	}
	if err := barrier(ctx, w, s); err != nil {
		return nil, fmt.Errorf("barrier: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return w.Identify(ctx, s.Database, lookNames(s.Pairs, s.Rollout))
}

func awaitGone(ctx context.Context, w Warehouse, backend uint32) error {
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	poll := time.NewTicker(gonePoll)
	defer poll.Stop()
	for {
		gone, err := w.BackendGone(ctx, backend)
		if err != nil {
			return fmt.Errorf("asking whether the lost session %d has ended: %w", backend, err)
		}
		if gone {
			return nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("the lost session %d is still on the server: %w", backend, ctx.Err())
		}
	}
}

// barrier comments on the live object of the first pair: it exists under either
// outcome. Losing against other DDL is no proof, so it is tried until it commits.
func barrier(ctx context.Context, w Warehouse, s State) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	p := s.Pairs[0]
	for n := 1; ; n++ {
		err := w.Barrier(ctx, s.Database, p.ref(p.Live, ""))
		if !errors.Is(err, ErrConflict) {
			return err
		}
		select {
		case <-time.After(jitter(s.Salt, n)):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

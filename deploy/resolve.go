package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How often a lost session is looked for (in growing pauses), and for how long before
// the look is started anew.
const (
	gonePoll    = 250 * time.Millisecond
	goneMost    = 4 * time.Second
	goneTimeout = 60 * time.Second
)

// heldPoll is how soon it is looked for again while sessions wait for its end, at
// first; each pause is half as long again as the one before, up to gonePoll: looking
// costs the server, and who waits for a second does not mind a quarter more.
const heldPoll = 25 * time.Millisecond

// awaitEnd waits until a lost session has ended or the context has; errors are
// looked past, for somebody waits behind this and it is bounded.
func awaitEnd(ctx context.Context, w Warehouse, backend Backend) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for next := heldPoll; ctx.Err() == nil; next = min(next*3/2, gonePoll) {
		if gone, err := w.BackendGone(ctx, backend); err == nil && gone {
			return
		}
		pause.Reset(next)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// resolve finds out what became of a COMMIT whose answer was lost. The order is
// the proof: the session that sent it has ended, then a barrier was committed
// (which makes any DDL transaction that is still open fail), and only then the
// ids are read.
func resolve(ctx context.Context, w Warehouse, clock func() time.Time, s State, backend Backend) Resolved {
	refs, err := resolveRefs(ctx, w, s, backend)
	return Resolved{At: At{clock()}, Refs: refs, Err: err}
}

func resolveRefs(ctx context.Context, w Warehouse, s State, backend Backend) ([]Ref, error) {
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

func awaitGone(ctx context.Context, w Warehouse, backend Backend) error {
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for next := gonePoll; ; next = min(2*next, goneMost) {
		gone, err := w.BackendGone(ctx, backend)
		if err != nil {
			return fmt.Errorf("asking whether the lost session %s has ended: %w", backend, err)
		}
		if gone {
			return nil
		}
		pause.Reset(next)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("the lost session %s is still on the server: %w", backend, ctx.Err())
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

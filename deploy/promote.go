package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Deadlines of what happens while nobody waits. What happens while sessions wait
// is bounded by promote.gather and promote.max_stall.
const (
	prepareTimeout = 60 * time.Second
	readTimeout    = 60 * time.Second
	quickTimeout   = 5 * time.Second
)

// promotion performs one attempt to swap, or to swap back: steps 3 to 9. Patience
// (1), the journal of the intent (2) and the settling (10) are the state
// machine's.
type promotion struct {
	w     Warehouse
	t     Traffic
	clock func() time.Time
	order SwapOrder
	// turn is the right to close gates; deployments take turns.
	turn chan struct{}
	// prepared writes to the journal that a COMMIT may be sent from now on. It
	// comes before the gates close: no disk is waited for while a client waits.
	prepared func(ctx context.Context, backend Backend) error

	// quiet waits until nothing of ours reads the catalog any more.
	quiet func(ctx context.Context)

	rec AttemptRecord
	// Since when the gates are closed, and when they must be open again.
	closed, deadline time.Time
}

// run makes the attempt. Ending the context gives it up at any point before the
// COMMIT is sent; after that it runs to its bounded end.
func (p *promotion) run(ctx context.Context) SwapEnded {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return p.end(EndStopped, ctx.Err())
	}
	defer func() { <-p.turn }()

	if busy, err := p.busy(ctx); err != nil || len(busy) > 0 {
		p.rec.Stragglers = busy
		return p.end(EndBusy, err)
	}
	tx, err := p.prepare(ctx)
	if err != nil {
		return p.end(classify(ctx, err), err)
	}
	if diff, err := p.verify(ctx); err != nil || len(diff) > 0 {
		p.rollback(tx)
		if err != nil {
			return p.end(classify(ctx, err), err)
		}
		ended := p.end(EndChanged, ErrChanged)
		ended.Diff = diff
		return ended
	}
	if err := p.prepared(ctx, tx.Backend()); err != nil {
		p.rollback(tx)
		return p.end(EndStopped, err)
	}
	return p.hold(ctx, tx)
}

// busy is one more look: the turn may have been a long time coming. Who cannot be
// seen may be in the way, and an attempt that fails stalls everybody for nothing.
func (p *promotion) busy(ctx context.Context) ([]SessionInfo, error) {
	if p.order.Impatient {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	s, err := p.t.Survey(ctx, p.order.Deployment)
	if err != nil {
		return nil, fmt.Errorf("surveying the sessions: %w", err)
	}
	return stuck(s, p.order.Plan.Gather), nil
}

// stuck picks those who would spoil a gather: longer in the way than it lasts, or
// not understood at all.
func stuck(s Survey, gather time.Duration) []SessionInfo {
	var out []SessionInfo
	for _, x := range s.Stragglers {
		if x.Place == Untracked || x.Place == Busy && x.Age > gather {
			out = append(out, x)
		}
	}
	return out
}

// prepare opens the transaction with every statement in it. Nobody waits, and
// nothing is visible to anybody.
func (p *promotion) prepare(ctx context.Context) (Prepared, error) {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	began := p.clock()
	tx, err := p.w.Prepare(ctx, p.order.Statements)
	p.rec.Prepare = p.clock().Sub(began)
	return tx, err
}

// verify reads the ids on the reading connection. What they say stays true until
// our COMMIT, or the COMMIT fails.
func (p *promotion) verify(ctx context.Context) ([]Change, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	refs, err := p.w.Identify(ctx, p.order.Database, slices.Concat(p.order.Expect, p.order.Absent))
	if err != nil {
		return nil, fmt.Errorf("reading the ids before the swap: %w", err)
	}
	return differ(p.order.Expect, p.order.Absent, refs), nil
}

// hold closes the gates, gathers, and commits. From here on clients may wait;
// every path leads to Release within max_stall.
func (p *promotion) hold(ctx context.Context, tx Prepared) SwapEnded {
	if p.quiet(ctx); ctx.Err() != nil {
		p.rollback(tx)
		return p.end(EndStopped, ctx.Err())
	}
	p.closed = p.clock()
	p.deadline = p.closed.Add(p.order.Plan.MaxStall)
	hold, err := p.close(ctx)
	if err != nil {
		p.rollback(tx)
		return p.end(classify(ctx, errors.Join(ErrUnavailable, err)), err)
	}
	defer hold.Release() // whatever happens, nobody is left at a closed gate
	p.rec.Held = true
	if !p.gather(ctx, hold) {
		p.release(hold)
		p.rollback(tx)
		if ctx.Err() != nil {
			return p.end(EndStopped, ctx.Err())
		}
		return p.end(EndNotGathered, nil)
	}
	// Whoever passes a gate from now on, for whatever reason, is first moved to
	// names that mean production either way.
	if err := p.route(ctx, p.order.Commit); err != nil {
		p.release(hold)
		p.rollback(tx)
		return p.end(EndUnavailable, err)
	}
	return p.commit(ctx, tx, hold)
}

// bounded ends at the deadline of the stall: nothing that is called while sessions
// wait may take longer.
func (p *promotion) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, p.deadline.Sub(p.clock()))
}

// close closes the gates.
func (p *promotion) close(ctx context.Context) (Hold, error) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	return p.t.Hold(ctx, p.order.Deployment, 2*p.order.Plan.MaxStall)
}

// gather reports whether everybody stands at a boundary or streams on.
func (p *promotion) gather(ctx context.Context, hold Hold) bool {
	began := p.clock()
	defer func() { p.rec.Gather = p.clock().Sub(began) }()
	report := p.gatherOnce(ctx, hold)
	if !report.Complete() && p.order.Terminate && ctx.Err() == nil {
		ids := make([]string, len(report.Stragglers))
		for i, s := range report.Stragglers {
			ids[i] = s.ID
		}
		if p.endStragglers(ctx, ids) == nil {
			report = p.gatherOnce(ctx, hold)
		}
	}
	p.rec.Streaming, p.rec.Stragglers = report.Streaming, report.Stragglers
	return report.Complete() && ctx.Err() == nil && p.clock().Before(p.deadline)
}

func (p *promotion) endStragglers(ctx context.Context, ids []string) error {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	_, err := p.t.End(ctx, p.order.Deployment, Which{IDs: ids},
		"mzcanary: this session stood in the way of a promotion for too long (promote.stragglers: terminate); connect again")
	return err
}

func (p *promotion) gatherOnce(ctx context.Context, hold Hold) HoldReport {
	ctx, cancel := context.WithTimeout(ctx, min(p.order.Plan.Gather, p.deadline.Sub(p.clock())))
	defer cancel()
	return hold.Gather(ctx)
}

// commit is the point of no return: once COMMIT is sent only its answer, or the
// ids, say what happened.
func (p *promotion) commit(ctx context.Context, tx Prepared, hold Hold) SwapEnded {
	after := context.WithoutCancel(ctx)
	if !hold.Pin() {
		// The lease ran out and the gates are open: whoever passed is not at a
		// boundary any more.
		err := p.notDone(after, tx, hold)
		return p.end(EndNotGathered, errors.Join(errors.New("the lease on the gates ran out before the COMMIT was sent"), err))
	}
	outcome, err := p.sendCommit(after, tx)
	switch outcome {
	case Done:
		// The router knows of the swap before anybody passes: what still runs belongs
		// to the version it began on.
		err = p.route(after, p.order.After)
		p.release(hold)
		return p.end(EndDone, err)
	case NotDone:
		routeErr := p.notDone(after, tx, hold)
		if err == nil {
			err = errors.New("COMMIT answered that it did not happen")
		}
		return p.end(classify(after, err), errors.Join(err, routeErr))
	}
	// The COMMIT may still land. Whoever begins a transaction now could meet both
	// versions in it, so nobody does until the session that sent it has ended, at the
	// longest until the bound.
	p.awaitLost(after, tx.Backend())
	p.release(hold)
	if err == nil {
		err = errors.New("no answer to COMMIT")
	}
	return p.end(EndUnknown, err)
}

func (p *promotion) sendCommit(ctx context.Context, tx Prepared) (Outcome, error) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	began := p.clock()
	defer func() { p.rec.Commit = p.clock().Sub(began) }()
	return tx.Commit(ctx)
}

// notDone takes the routing back and opens the gates; what is left of the transaction
// is nobody's to wait for.
func (p *promotion) notDone(ctx context.Context, tx Prepared, hold Hold) error {
	err := p.route(ctx, p.order.Before)
	p.release(hold)
	p.rollback(tx)
	return err
}

func (p *promotion) awaitLost(ctx context.Context, backend Backend) {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	awaitEnd(ctx, p.w, backend)
}

// route publishes while sessions wait. What could not be published by the deadline is
// published again by the state machine, and whoever passes meanwhile is on names that
// mean production.
func (p *promotion) route(ctx context.Context, r Routing) error {
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	_, err := p.t.Route(ctx, p.order.Deployment, r)
	return err
}

func (p *promotion) release(hold Hold) {
	p.rec.Closed = p.clock().Sub(p.closed)
	p.rec.Stall = hold.Release()
}

// rollback ends the transaction. That it failed changes nothing: a transaction
// whose connection is lost before COMMIT is gone.
func (p *promotion) rollback(tx Prepared) {
	ctx, cancel := context.WithTimeout(context.Background(), quickTimeout)
	defer cancel()
	if err := tx.Rollback(ctx); err != nil && p.rec.Error == "" {
		p.rec.Error = "ROLLBACK: " + err.Error()
	}
}

func (p *promotion) end(end Ended, err error) SwapEnded {
	return SwapEnded{At: At{p.clock()}, End: end, Record: p.rec, Err: err}
}

// classify maps an error before COMMIT, or one that proves that it did not
// happen, to the end of an attempt.
func classify(ctx context.Context, err error) Ended {
	switch {
	case errors.Is(err, ErrConflict):
		return EndConflict
	case errors.Is(err, ErrReadOnly):
		return EndReadOnly
	case ctx.Err() != nil:
		return EndStopped
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return EndUnavailable
	}
	return EndFailed
}

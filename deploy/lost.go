package deploy

import (
	"context"
	"time"
)

// lostHold is a hold of a restarted program: the COMMIT of the process before may
// still land, and a transaction begun now could read both versions.
type lostHold struct {
	done  chan struct{} // closed when the gates are open again
	stall Stall         // set before that
}

// holdForLostCommit closes the gates before this returns, when the journal says that
// a COMMIT may be out; they open when the session that sent it has ended, at the
// longest after max_stall. It waits for no disk: nothing is decided by it. See
// Controller.Loaded.
func (r *runner) holdForLostCommit(ctx context.Context) {
	if st := r.s.Swap.Stage; !r.s.Running() || st != StagePrepared && st != StageResolving {
		return
	}
	backend, bound := r.s.Swap.Backend, r.plan.Promote.MaxStall
	quiet, speak := r.c.calm.holder()
	hush, cancel := context.WithTimeout(ctx, quickTimeout)
	quiet(hush)
	cancel()
	hold, err := r.c.opts.Traffic.Hold(ctx, r.s.Deployment, 2*bound)
	if err != nil {
		speak()
		r.log.Warn("sessions are not held while the outcome of the COMMIT is unknown", "err", err)
		return
	}
	r.lost = &lostHold{done: make(chan struct{})}
	r.working.Go(func() {
		r.lost.stall = awaitEndHeld(ctx, r.c.opts.Warehouse, backend, hold, bound)
		speak()
		close(r.lost.done)
	})
}

func awaitEndHeld(ctx context.Context, w Warehouse, backend Backend, hold Hold, bound time.Duration) Stall {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	awaitEnd(ctx, w, backend)
	return hold.Release()
}

// await returns what the held sessions waited, once the gates are open; the catalog is
// not read before.
func (l *lostHold) await(ctx context.Context) Stall {
	if l == nil {
		return Stall{}
	}
	select {
	case <-l.done:
		return l.stall
	case <-ctx.Done():
		return Stall{}
	}
}

// resolve starts to find out what became of a COMMIT.
func (r *runner) resolve(ctx context.Context, s State, backend Backend) {
	look, lost := r.looker(), r.lost
	if !s.Recovering {
		lost = nil // an attempt of this process held its sessions itself
	}
	r.start(ctx, string(ActResolve), func(ctx context.Context) Event {
		began := look.clock()
		stall := lost.await(ctx)
		out := resolve(ctx, look.w, look.clock, s, backend)
		out.Stall, out.Took = stall, out.Time.Sub(began)
		return out
	})
}

package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mzcanary/router"
)

// perform does one action: quick ones here and now, slow ones as a job.
func (r *runner) perform(ctx context.Context, a Action) {
	if r.c.onAction != nil {
		r.c.onAction(a)
	}
	switch a.Kind {
	case ActRoute:
		r.route(ctx, *a.Routing)
	case ActBeginEvidence:
		r.quick(ctx, a.Kind, func(ctx context.Context) error {
			return r.c.opts.Traffic.BeginEvidence(ctx, r.s.Deployment, r.s.Rollout)
		})
	case ActRestore:
		r.quick(ctx, a.Kind, func(ctx context.Context) error {
			return r.c.opts.Traffic.RestoreEvidence(ctx, r.s.Deployment, *a.Evidence)
		})
	case ActStopSwap:
		r.stopSwap()
	case ActCancel:
		canary := router.Canary
		r.quick(ctx, a.Kind, func(ctx context.Context) error {
			_, err := r.c.opts.Traffic.Cancel(ctx, r.s.Deployment, Which{Arm: &canary, AwayFrom: true})
			return err
		})
	case ActEndStreams:
		canary := router.Canary
		r.quick(ctx, a.Kind, func(ctx context.Context) error {
			_, err := r.c.opts.Traffic.End(ctx, r.s.Deployment, Which{Arm: &canary, AwayFrom: true, Streams: true}, a.Sentence)
			return err
		})
	case ActEndOld:
		r.quick(ctx, a.Kind, func(ctx context.Context) error {
			_, err := r.c.opts.Traffic.End(ctx, r.s.Deployment, Which{Old: true}, a.Sentence)
			return err
		})
	case ActArchive:
		r.quick(ctx, a.Kind, r.archive)
	default:
		r.performJob(ctx, a)
	}
}

// stopSwap gives up the running attempt.
func (r *runner) stopSwap() {
	if j := r.jobs[string(ActSwap)]; j != nil {
		j.cancel()
	}
}

// performJob starts what asks the server.
func (r *runner) performJob(ctx context.Context, a Action) {
	s, spec := r.s.clone(), r.spec
	look := r.looker()
	switch a.Kind {
	case ActPreflight:
		r.start(ctx, string(a.Kind), func(ctx context.Context) Event { return look.preflight(ctx, spec, s) })
	case ActGrant:
		r.start(ctx, string(a.Kind), func(ctx context.Context) Event { return give(ctx, look.w, look.clock, s.Database, a.Grants) })
	case ActRevoke:
		r.start(ctx, string(a.Kind), func(ctx context.Context) Event { return takeBack(ctx, look.w, look.clock, s.Database, a.Grants) })
	case ActMark:
		r.start(ctx, string(a.Kind), func(ctx context.Context) Event {
			err := r.bounded(ctx, func(ctx context.Context) error { return look.w.Mark(ctx, s.Database, a.Marks) })
			return Marked{At{look.clock()}, err}
		})
	case ActUnmark:
		marking := r.jobs[string(ActMark)]
		r.start(ctx, string(a.Kind), func(ctx context.Context) Event {
			marking.await(ctx) // else it would set again what is removed here
			err := r.bounded(ctx, func(ctx context.Context) error { return look.w.Unmark(ctx, s.Database, a.Refs) })
			return Unmarked{At{look.clock()}, err}
		})
	case ActLook:
		r.start(ctx, "look:"+string(a.For), func(ctx context.Context) Event { return look.look(ctx, s, a.For) })
	case ActSwap:
		quiet, speak := r.c.calm.holder()
		p := &promotion{w: r.c.opts.Warehouse, t: look.t, clock: look.clock, order: *a.Swap, turn: r.c.turn, quiet: quiet, prepared: r.journalPrepared}
		r.start(ctx, string(a.Kind), func(ctx context.Context) Event {
			defer speak() // every gate is open again
			return p.run(ctx)
		})
	case ActResolve:
		r.resolve(ctx, s, a.Backend)
	case ActDrop:
		c := r.cleaner()
		r.start(ctx, string(a.Kind), func(ctx context.Context) Event { return c.drop(ctx, s, *a.Ref) })
	case ActNotify:
		r.start(ctx, string(a.Kind), func(ctx context.Context) Event { return notify(ctx, look.t, look.clock, s.Deployment, a.Sentence) })
	default:
		panic(fmt.Sprintf("deploy: nobody performs action %q", a.Kind))
	}
}

func (r *runner) looker() looker {
	return looker{w: calmWarehouse{r.c.opts.Warehouse, r.c.calm}, t: r.c.opts.Traffic, clock: r.c.opts.Clock}
}

func (r *runner) cleaner() cleaner {
	return cleaner{w: calmWarehouse{r.c.opts.Warehouse, r.c.calm}, t: r.c.opts.Traffic, clock: r.c.opts.Clock, accept: r.spec.Accept}
}

func (r *runner) bounded(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return f(ctx)
}

// quick bounds what the loop itself waits for.
func (r *runner) quick(ctx context.Context, what ActionKind, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quickTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		r.log.Warn("action failed", "action", string(what), "err", err)
	}
}

// route publishes, or remembers what is still to be published.
func (r *runner) route(ctx context.Context, want Routing) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quickTimeout)
	defer cancel()
	r.reroute, r.published = nil, want
	if _, err := r.c.opts.Traffic.Route(ctx, r.s.Deployment, want); err != nil {
		r.reroute = &want
		r.log.Warn("routing could not be published; trying again", "err", err)
	}
}

// start runs a job beside the loop. A job of the same kind that is still running
// is enough.
func (r *runner) start(ctx context.Context, kind string, f func(context.Context) Event) {
	if r.stopping || r.jobs[kind] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	j := &job{cancel: cancel, began: r.c.opts.Clock(), done: make(chan struct{})}
	r.jobs[kind] = j
	rollout := r.s.Rollout
	r.working.Go(func() {
		defer cancel()
		event := f(ctx)
		close(j.done)
		// The loop receives until every job has ended, so this never hangs.
		r.results <- jobResult{kind: kind, rollout: rollout, event: event}
	})
}

// await waits for the end of a job that may not be there.
func (j *job) await(ctx context.Context) {
	if j == nil {
		return
	}
	select {
	case <-j.done:
	case <-ctx.Done():
	}
}

// finished takes a job's end. What belongs to a rollout that is over is dropped.
func (r *runner) finished(ctx context.Context, res jobResult) {
	delete(r.jobs, res.kind)
	if res.event == nil || res.rollout != r.s.Rollout {
		return
	}
	if seen, ok := res.event.(Looked); ok && seen.For == LookWatch {
		r.next.watch = seen.Time.Add(watchPace(r.c.opts.Watch, seen.Took))
	}
	if _, isSwap := res.event.(SwapEnded); r.stopping && !isSwap {
		return
	}
	r.handle(ctx, res.event)
}

// journalPrepared is called by a promotion; the loop answers.
func (r *runner) journalPrepared(ctx context.Context, backend Backend) error {
	ack := swapAck{backend: backend, ok: make(chan error, 1)}
	select {
	case r.swapSave <- ack:
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-ack.ok
}

// acknowledge journals that a COMMIT may be sent, or says why it must not.
func (r *runner) acknowledge(ctx context.Context, ack swapAck) {
	r.handle(ctx, SwapPrepared{At{r.c.opts.Clock()}, ack.backend})
	switch {
	case r.unsaved != nil:
		ack.ok <- r.unsaved
	case r.s.Swap.Stage != StagePrepared:
		ack.ok <- errors.New("the attempt was called off")
	default:
		ack.ok <- nil
	}
}

// journalEvery is how often progress is written while nothing is decided.
const journalEvery = 5 * time.Second

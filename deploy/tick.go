package deploy

import (
	"context"
	"fmt"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// clockSlack is how much time may pass unobserved between two ticks, or the wall
// clock move by itself, before it counts as a step of the clock.
const clockSlack = 15 * time.Second

// tick is the loop's clock: what can be seen for nothing is looked at, standing
// observers are started when they are due, and the machine gets its time.
func (r *runner) tick(ctx context.Context) {
	now := r.c.opts.Clock()
	elapsed := r.elapsed(ctx, now)
	r.keepJournal(ctx)
	if r.reroute != nil && r.jobs[string(ActSwap)] == nil { // an attempt publishes by itself
		r.route(ctx, *r.reroute)
	}
	if r.s.Phase == PhaseIdle && r.s.Recovering && !now.Before(r.next.watch) {
		r.next.watch = now.Add(retryPause)
		r.lookForMarks(ctx)
	}
	ev := Ticked{At: At{now}, Elapsed: elapsed}
	if j := r.jobs["look:watch"]; j != nil {
		ev.Silent = now.Sub(j.began)
	}
	r.see(ctx, now, &ev)
	r.handle(ctx, ev)
	r.observe(ctx, now)
}

// elapsed is the observed time since the last tick. A process that slept did not
// observe, so it is capped; what passed beyond that, or was set on the wall clock,
// is told to the machine.
func (r *runner) elapsed(ctx context.Context, now time.Time) time.Duration {
	mono, wall := now.Sub(r.last), now.Round(0).Sub(r.last.Round(0))
	r.last = now
	observed := min(max(mono, 0), 4*r.c.opts.Tick)
	if by := wall - observed; (by > clockSlack || by < -clockSlack) && r.s.Running() {
		r.next, r.saved = pace{}, time.Time{} // what was due at a time of day is due now
		r.handle(ctx, ClockStepped{At{now}, by})
		return 0
	}
	return observed
}

// see fills the tick with sessions and evidence, neither of which asks the server.
func (r *runner) see(ctx context.Context, now time.Time, ev *Ticked) {
	if !r.s.Running() && now.Before(r.next.survey) {
		return
	}
	r.next.survey = now.Add(time.Second)
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	if s, err := r.c.opts.Traffic.Survey(ctx, r.s.Deployment); err == nil {
		ev.Canary = s.Sessions[router.Canary]
		ev.Left = max(0, s.Sessions[router.Canary]-s.Wanted[router.Canary])
		ev.Stuck = stuck(s, r.plan.Promote.Gather)
		r.view.setSurvey(s)
	} else {
		ev.Left, ev.Blind = -1, fmt.Errorf("the sessions cannot be seen: %w", err)
	}
	if r.s.Phase != PhaseRamping && r.s.Phase != PhasePromoting || r.s.Recovering {
		return
	}
	e, err := r.c.opts.Traffic.Evidence(ctx, r.s.Deployment)
	if err != nil || e.Rollout != r.s.Rollout {
		return
	}
	r.judge(e, ev)
}

func (r *runner) judge(e armstats.Evidence, ev *Ticked) {
	j := Judge(e, r.s.Weight, r.plan.judge())
	ev.Judgement, ev.Minimum = &j, MinimumMet(e, r.plan.judge())
	r.view.setEvidence(e)
}

// observe starts the standing observers that the phase wants and that are due.
// While an attempt is under way none is: a catalog read may cost more than the
// swap, and sessions wait.
func (r *runner) observe(ctx context.Context, now time.Time) {
	if r.s.Recovering || r.s.Swap.Stage.active() || !r.s.Running() {
		return
	}
	s, spec, plan := r.s.clone(), r.spec, r.plan
	look := r.looker()
	switch r.s.Phase {
	case PhaseHydrating, PhaseRamping, PhasePromoting:
		if r.due(&r.next.ready, now, plan.Ready.Poll, "readiness") {
			r.start(ctx, "readiness", func(ctx context.Context) Event { return look.sample(ctx, spec, plan.Ready) })
		}
	case PhaseWindow, PhaseDraining:
		if r.due(&r.next.census, now, r.c.opts.Watch, "census") {
			c := r.cleaner()
			r.start(ctx, "census", func(ctx context.Context) Event { return c.census(ctx, s) })
		}
	}
	if r.s.Phase != PhasePreflight && !r.s.After.Dropping && r.due(&r.next.watch, now, r.c.opts.Watch, "look:watch") {
		r.start(ctx, "look:watch", func(ctx context.Context) Event { return look.look(ctx, s, LookWatch) })
	}
}

// due reports whether an observer may start now, and sets its next time.
func (r *runner) due(next *time.Time, now time.Time, every time.Duration, kind string) bool {
	if now.Before(*next) || r.jobs[kind] != nil {
		return false
	}
	*next = now.Add(every)
	return true
}

package deploy

import (
	"testing"
	"time"
)

// A place is a phase in which a rollout can be kept standing, so that a test can see
// what something does to it there, and then let it go on to its end.
type place struct {
	name  string
	phase Phase
	world func(*world)
	plan  func(*Plan)
	bring func(*program) // does what it takes to get there
	free  func(*program) // takes away what keeps it
	end   Phase
	exit  int
}

// inTheWay is a session that no promotion even tries to gather.
func inTheWay(w *world) {
	w.stragglers = []SessionInfo{{ID: "s1", Place: Busy, Age: time.Hour}}
}

// letPreflight lets the reading of the catalog go on that it has kept.
func (w *world) letPreflight() {
	select {
	case <-w.waitsForPreflight:
	default:
		close(w.waitsForPreflight)
	}
}

// dependedOn is a version that cannot be dropped.
func dependedOn(w *world) { w.deps = []Dependent{{Kind: "view", Name: "reports.daily"}} }

// places lists one for every phase that is not over.
func places() []place {
	at5 := func(p *program) { p.await("5%", func(s Status) bool { return s.Weight == 500 }) }
	stays := func(p *Plan) { p.Steps[0].Bake = time.Hour }
	with := func(f func(*world)) func(*program) { return func(p *program) { p.w.with(func() { f(p.w) }) } }
	return []place{
		{name: "preflight", phase: PhasePreflight, end: PhaseDone, world: func(w *world) { w.waitsForPreflight = make(chan struct{}) },
			free: with((*world).letPreflight)},
		{name: "hydrating", phase: PhaseHydrating, end: PhaseDone, world: func(w *world) { w.ready = func() Readiness { return Readiness{Why: "hydrating"} } },
			plan: func(p *Plan) { p.Ready.Within = time.Hour },
			free: with(func(w *world) { w.ready = func() Readiness { return Readiness{Ready: true, Why: "ready"} } })},
		{name: "ramping", phase: PhaseRamping, end: PhaseDone, plan: func(p *Plan) {
			p.Steps[0] = PlanStep{Weight: 500, Bake: time.Second, Approve: &Approve{Within: time.Hour}}
		},
			bring: func(p *program) { p.await("asked", func(s Status) bool { return s.Asked != nil }) },
			free:  func(p *program) { p.do(VerbApprove) }},
		{name: "promoting", phase: PhasePromoting, end: PhaseDone, world: inTheWay, plan: func(p *Plan) { p.Promote.Patience = time.Hour },
			free: with(func(w *world) { w.stragglers = nil })},
		{name: "window", phase: PhaseWindow, end: PhaseDone, plan: func(p *Plan) { p.Window.For = time.Hour },
			bring: (*program).awaitConfirmed, free: func(p *program) { p.do(VerbCleanup) }},
		{name: "draining", phase: PhaseDraining, end: PhaseDone, world: func(w *world) { w.subs = []Dependent{{Kind: "subscription", Name: "bi"}} },
			plan: func(p *Plan) { p.Drain.For = time.Hour }, free: with(func(w *world) { w.subs = nil })},
		{name: "draining, in use", phase: PhaseDraining, end: PhaseDone, world: func(w *world) { w.subs = []Dependent{{Kind: "subscription", Name: "bi"}} },
			bring: func(p *program) { p.await("in use", stopped(CauseInUse)) }, free: with(func(w *world) { w.subs = nil })},
		{name: "cleaning", phase: PhaseCleaning, end: PhaseDone, world: dependedOn,
			bring: func(p *program) { p.await("in use", stopped(CauseInUse)) }, free: with(func(w *world) { w.deps = nil })},
		{name: "rolling back", phase: PhaseRollingBack, end: PhaseRolledBack, exit: ExitRolledBack, world: func(w *world) { w.hanging, w.clings = 2, true },
			plan:  func(p *Plan) { stays(p); p.OnRollback = OnRollback{CancelAfter: 100 * time.Hour} },
			bring: func(p *program) { at5(p); p.do(VerbRollback) }, free: with(func(w *world) { w.hanging = 0 })},
		{name: "swapping back", phase: PhaseSwappingBack, end: PhaseRolledBack, exit: ExitRolledBack,
			plan: func(p *Plan) { p.Window.For, p.Promote.Patience = time.Hour, time.Hour },
			bring: func(p *program) {
				p.awaitConfirmed()
				p.w.with(func() { inTheWay(p.w) })
				p.do(VerbRollback)
			}, free: with(func(w *world) { w.stragglers = nil })},
		{name: "dropping", phase: PhaseDropping, end: PhaseAborted, exit: ExitRolledBack, plan: stays,
			world: func(w *world) { w.dropsNew = true; dependedOn(w) },
			bring: func(p *program) {
				at5(p)
				if _, err := p.abortAndDrop(); err != nil {
					p.t.Fatal(err)
				}
				p.await("in use", stopped(CauseInUse))
			}, free: with(func(w *world) { w.deps = nil })},
	}
}

// awaitConfirmed waits for a window whose swap was proven and marked.
func (p *program) awaitConfirmed() {
	p.t.Helper()
	p.await("confirmed", func(s Status) bool {
		return s.Phase == PhaseWindow && s.Events[len(s.Events)-1].What == "confirmed by ids"
	})
}

// in says that the rollout is in the phase, whether or not it stands still there.
func (pl place) in(s Status) bool { return s.Phase == pl.phase || s.Under == pl.phase }

// boot brings a rollout to the place.
func (pl place) boot(t *testing.T, w *world, change ...func(*Options)) *program {
	t.Helper()
	plan := testPlan()
	if pl.world != nil {
		pl.world(w)
	}
	if pl.plan != nil {
		pl.plan(&plan)
	}
	p := boot(t, w, plan, 0, change...)
	p.start()
	pl.arrive(p)
	return p
}

func (pl place) arrive(p *program) {
	p.t.Helper()
	if pl.bring != nil {
		pl.bring(p)
	}
	p.await(pl.name, pl.in)
}

// leave lets it go on and expects its end.
func (pl place) leave(p *program) Status {
	p.t.Helper()
	pl.free(p)
	s, _ := p.awaitOver()
	if s.Phase != pl.end || s.Exit != pl.exit {
		p.t.Errorf("ended in %s with exit %d (%s), want %s and %d", s.Phase, s.Exit, s.End, pl.end, pl.exit)
	}
	return s
}

// everywhere runs a test in each place.
func everywhere(t *testing.T, f func(t *testing.T, pl place)) {
	t.Helper()
	reached := map[Phase]bool{}
	for _, pl := range places() {
		reached[pl.phase] = true
		t.Run(pl.name, func(t *testing.T) { bubble(t, func(t *testing.T) { f(t, pl) }) })
	}
	for _, info := range Phases() {
		if !info.Final && info.Phase != PhasePaused && info.Phase != PhaseBlocked && !reached[info.Phase] {
			t.Errorf("there is no place in %s", info.Phase)
		}
	}
}

// show is a status in one line.
func show(s Status) string {
	text := string(s.Phase) + " in " + string(s.Under) + " at " + s.Weight.String() + ": " + s.Sentence
	if s.Stop != nil {
		text += " [" + string(s.Stop.Cause) + "; next " + s.Stop.Next + "]"
	}
	return text
}

func (p *program) now() Status {
	p.t.Helper()
	s, err := p.c.Status(shopName)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

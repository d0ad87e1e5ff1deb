package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"mzcanary/router"
)

// A scenario is one way through the state machine, written so that it can be
// played on after a crash: drive looks at the status and does what is still to
// be done.
type scenario struct {
	name  string
	plan  func(*Plan)
	world func(*world)
	// drive acts on a status, at most once per condition; it is called again after
	// every change.
	drive func(p *program, s Status)
	fix   bool // start --fix
	end   Phase
	exit  int
}

func scenarios() []scenario {
	return []scenario{
		{name: "undisturbed", end: PhaseDone, exit: ExitDone},
		{name: "without a fence", end: PhaseDone, exit: ExitDone,
			plan: func(p *Plan) { p.Promote.Fence = false },
			drive: func(p *program, s Status) {
				if s.Stop != nil && s.Stop.Cause == CauseCleanup {
					p.try(VerbCleanup)
				}
			}},
		{name: "by renames", end: PhaseDone, exit: ExitDone, plan: func(p *Plan) { p.Promote.Method = MethodRename }},
		{name: "regress", end: PhaseRolledBack, exit: ExitRegress,
			world: func(w *world) {
				w.hanging = 3
				w.bad = sick
			}},
		{name: "rollback in the window", end: PhaseRolledBack, exit: ExitRolledBack,
			plan: func(p *Plan) { p.Window.For = time.Hour },
			drive: func(p *program, s Status) {
				if s.Phase == PhaseWindow {
					p.try(VerbRollback)
				}
			}},
		{name: "aborted, the new version dropped", end: PhaseAborted, exit: ExitRolledBack,
			world: func(w *world) { w.dropsNew = true },
			drive: func(p *program, s Status) {
				if s.Phase == PhaseRamping {
					_, _ = p.c.Do(p.t.Context(), shopName, VerbAbort, Request{Who: "bob", DropDeploy: true})
				}
			}},
		{name: "old sessions are ended", end: PhaseDone, exit: ExitDone,
			drive: func(p *program, s Status) {
				if s.Phase == PhaseWindow {
					p.w.with(func() { p.w.old = []SessionInfo{{ID: "s7", OldVersion: true}} })
				}
			}},
		{name: "refused", end: PhaseRefused, exit: ExitRefused,
			world: func(w *world) { w.findings = []Finding{{Code: "P04", Severity: Refuse, Object: "view x"}} }},
		{name: "rights given", end: PhaseDone, exit: ExitDone, fix: true, world: lacksRights},
		{name: "rights given and taken back", end: PhaseRolledBack, exit: ExitRolledBack, fix: true, world: lacksRights,
			plan: func(p *Plan) { p.Window.For = time.Hour },
			drive: func(p *program, s Status) {
				if s.Phase == PhaseWindow {
					p.try(VerbRollback)
				}
			}},
		{name: "expired", end: PhaseExpired, exit: ExitNotReady,
			plan:  func(p *Plan) { p.Ready.Within = 5 * time.Second },
			world: func(w *world) { w.ready = func() Readiness { return Readiness{Why: "hydrating"} } }},
		{name: "unknown outcome, done", end: PhaseDone, exit: ExitDone,
			world: func(w *world) { w.commits = []commitFault{{outcome: Unknown, err: errDead, applied: true}} }},
		{name: "unknown outcome, not done", end: PhaseDone, exit: ExitDone,
			world: func(w *world) { w.commits = []commitFault{{outcome: Unknown, err: errDead}} }},
		{name: "promoted by hand out of patience", end: PhaseDone, exit: ExitDone,
			world: func(w *world) {
				w.stragglers = []SessionInfo{{ID: "s3", Place: Busy, Why: "in a statement"}}
			},
			drive: func(p *program, s Status) {
				// A pause while the gates are closed calls the attempt off.
				if s.Phase == PhasePromoting && s.Swap != nil && s.Swap.Stage == StagePrepared {
					p.try(VerbPause)
				}
				if s.Phase == PhasePaused {
					p.w.with(func() { p.w.stragglers = nil })
					p.try(VerbResume)
				}
			}},
	}
}

// try asks for a verb; a crash on the way, or a race with the rollout itself, is
// part of the game.
func (p *program) try(v Verb) {
	_, _ = p.c.Do(p.t.Context(), shopName, v, Request{Who: "bob", Reason: "because", Force: true})
}

// ending is what must not depend on a crash: the names and what they stand for,
// the marks, what the router says, and the meaning of the journal.
type ending struct {
	Names   map[Kind]map[string]string
	Marks   int
	Routing Routing
	Phase   Phase
	Exit    int
	Records int
	Held    bool
	Given   []string
}

func (sc scenario) play(t *testing.T, crashAt int) (ending, *world, []*life) {
	w := newWorld(t)
	if sc.world != nil {
		sc.world(w)
	}
	plan := testPlan()
	// Short, so that a life has few points that are only the passing of time.
	for i := range plan.Steps[:2] {
		plan.Steps[i].Bake = time.Second
	}
	plan.Window.For, plan.Drain.For, plan.Drain.Settle = time.Second, time.Second, time.Second
	if sc.plan != nil {
		sc.plan(&plan)
	}
	var lives []*life
	rollout := ""
	for n := 0; ; n++ {
		if n > 0 {
			crashAt = 0
		}
		p := boot(t, w, plan, crashAt)
		lives = append(lives, p.l)
		id, over := sc.live(t, p, rollout)
		if id != "" {
			rollout = id
		}
		p.stop()
		if over {
			break
		}
		if n > 0 {
			t.Fatalf("the second life did not come to an end")
		}
	}
	return sc.ending(t, w, rollout), w, lives
}

// live plays one life to the rollout's end, or to the life's.
func (sc scenario) live(t *testing.T, p *program, rollout string) (string, bool) {
	select {
	case <-p.c.Recovered():
	case <-p.l.died:
		return rollout, false
	}
	if s, _ := p.c.Status(shopName); s.Rollout == "" {
		if _, err := p.c.Start(t.Context(), shopName, StartRequest{Who: "ann", Fix: sc.fix}); err != nil && !p.crashed() {
			t.Fatalf("start: %v", err)
		}
	}
	s, over := p.await("the end", func(s Status) bool {
		if sc.drive != nil {
			sc.drive(p, s)
		}
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		_, kept := p.w.records[s.Rollout]
		return kept && s.Phase.Final() && s.Recovering == ""
	})
	return s.Rollout, over && !p.crashed()
}

func (sc scenario) ending(t *testing.T, w *world, rollout string) ending {
	var j Journal
	if err := json.Unmarshal(w.journal, &j); err != nil {
		t.Fatalf("journal: %v", err)
	}
	out := ending{Names: map[Kind]map[string]string{}, Marks: len(w.marks), Routing: w.routing, Phase: j.State.Phase, Exit: j.State.Exit, Records: len(w.records), Held: w.held, Given: slices.Sorted(slices.Values(w.given))}
	out.Routing.Salt = 0
	for k, names := range w.names {
		out.Names[k] = map[string]string{}
		for n, id := range names {
			if n == RetiredName("prod_deploy", rollout) {
				n = "retired"
			}
			out.Names[k][n] = id
		}
	}
	return out
}

// TestCrashAnywhere kills the program at every journal write, before every
// action and after every call to the server and the data plane, starts it again,
// and compares the end with that of an undisturbed run. The points are counted,
// not listed: a new action is covered the moment it exists, and one that no
// scenario meets fails the test.
func TestCrashAnywhere(t *testing.T) {
	covered := map[ActionKind]int{}
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			var want ending
			points := 0
			bubble(t, func(t *testing.T) {
				end, _, lives := sc.play(t, 0)
				want, points = end, lives[0].points
				note(covered, lives)
			})
			if want.Phase != sc.end || want.Exit != sc.exit || want.Marks != 0 || want.Routing.Canary != router.CanaryClosed || want.Held {
				t.Fatalf("undisturbed it ends as %+v", want)
			}
			for at := 1; at <= points; at++ {
				bubble(t, func(t *testing.T) {
					got, w, lives := sc.play(t, at)
					note(covered, lives)
					if !equal(got, want) {
						t.Errorf("crash %d of %d, at %q: ends as\n %+v\nwant\n %+v\nevents %v", at, points, lives[0].at, got, want, w.happened())
					}
				})
			}
			t.Logf("%d points", points)
		})
	}
	for _, kind := range ActionKinds() {
		if kind != ActRefuse && covered[kind] == 0 { // a refusal is an answer and does nothing
			t.Errorf("no scenario performs %q", kind)
		}
	}
}

func note(covered map[ActionKind]int, lives []*life) {
	for _, l := range lives {
		for k, n := range l.actions {
			covered[k] += n
		}
	}
}

func equal(a, b ending) bool {
	return fmt.Sprint(slices.Sorted(maps.Keys(a.Names)), a) == fmt.Sprint(slices.Sorted(maps.Keys(b.Names)), b)
}

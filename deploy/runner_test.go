package deploy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mzcanary/router"
)

func TestRolloutUndisturbed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.streaming = []SessionInfo{{ID: "s9", Place: Streaming}}
		seen := &phases{}
		p := boot(t, w, testPlan(), 0, func(o *Options) { o.Observer = seen })
		defer p.stop()
		first := p.start()
		if first.Phase != PhasePreflight || first.Rollout == "" {
			t.Fatalf("started as %+v", first)
		}
		s, _ := p.awaitOver()
		if s.Phase != PhaseDone || s.Exit != ExitDone {
			t.Fatalf("ended in %s (exit %d): %s", s.Phase, s.Exit, s.Sentence)
		}
		retired := "prod_deploy_retired_" + s.Rollout
		want := []string{
			"route 0% closed", "mark", "begin evidence", "route 5% deploy", "route 25% deploy",
			"prepare", "hold", "gather", "route 25% live", "commit", "route 0% closed", "release", "route 0% closed",
			"mark", "notify", "drop cluster " + retired, "drop schema " + retired, "route 0% closed", "unmark", "archive",
		}
		if got := w.happened(); !slices.Equal(got, want) {
			t.Errorf("happened\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
		}
		if w.name(KindSchema, "prod") != newSchema || w.name(KindCluster, "prod") != newCluster {
			t.Errorf("production is %v", w.names)
		}
		if len(w.names[KindSchema])+len(w.names[KindCluster]) != 2 || len(w.marks) != 0 {
			t.Errorf("left behind: names %v, marks %v", w.names, w.marks)
		}
		if s.Swap.Record == nil || len(s.Swap.Record.Streaming) != 1 || s.Swap.Record.Stall.Sessions != 3 {
			t.Errorf("record of the swap: %+v", s.Swap.Record)
		}
		if s.StableIs != "new (prod)" || s.CanaryIs != "old (dropped)" {
			t.Errorf("in words: %q, %q", s.StableIs, s.CanaryIs)
		}
		if got, want := fmt.Sprint(seen.list), "[preflight hydrating ramping promoting window draining cleaning done]"; got != want || seen.attempts != 1 {
			t.Errorf("the observer heard %s and %d attempts, want %s and 1", got, seen.attempts, want)
		}
		h, err := p.c.History(t.Context(), shopName)
		if err != nil || len(h) != 1 || h[0].Exit != 0 || h[0].Who != "ann" {
			t.Errorf("history: %+v, %v", h, err)
		}
	})
}

type phases struct {
	list     []Phase
	attempts int
}

func (p *phases) PhaseChanged(_ string, _, to Phase)     { p.list = append(p.list, to) }
func (p *phases) AttemptEnded(_ string, a AttemptRecord) { p.attempts++ }
func (p *phases) AttemptResolved(string, AttemptRecord)  {}
func (p *phases) Stopped(_ string, _ *Stop)              {}

func TestNoIntentIsActedOnBeforeItIsJournaled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.awaitOver()
		saveBefore := func(act, save string) {
			i := slices.Index(w.events, act)
			if i < 0 || !slices.Contains(w.events[:i], save) {
				t.Errorf("%q is not preceded by %q", act, save)
			}
		}
		saveBefore("preflight", "save preflight")
		saveBefore("route 5% deploy", "save ramping")
		saveBefore("prepare", "save promoting")
		saveBefore("unmark", "save done")
		// No disk is waited for between the gates' closing and their opening.
		from, to := slices.Index(w.events, "hold"), slices.Index(w.events, "release")
		for _, e := range w.events[from:to] {
			if strings.HasPrefix(e, "save") {
				t.Errorf("%q while sessions are held", e)
			}
		}
	})
}

func TestRegressRollsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.hanging = 3
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		w.with(func() { w.bad = sick })
		began := time.Now()
		p.awaitPhase(PhaseRollingBack)
		if took := time.Since(began); took > time.Second {
			t.Errorf("weight 0 came %s after the evidence", took)
		}
		s, _ := p.awaitOver()
		if s.Phase != PhaseRolledBack || s.Exit != ExitRegress {
			t.Errorf("%s exit %d: %s", s.Phase, s.Exit, s.Sentence)
		}
		got := w.happened()
		if c, e := slices.Index(got, "cancel"), slices.Index(got, "end streams"); c < 0 || e < c {
			t.Errorf("cancel at %d, end streams at %d", c, e)
		}
		if count(got, "prepare") != 0 || w.name(KindSchema, "prod") != oldSchema || len(w.marks) != 0 {
			t.Errorf("a rollback before the swap must not touch names: %v", got)
		}
		if _, code := p.c.Wait(t.Context(), shopName, s.Rollout, UntilPromoted); code != ExitRegress {
			t.Errorf("wait ends with %d", code)
		}
	})
}

func TestRegressPolicies(t *testing.T) {
	for policy, weight := range map[Policy]router.Weight{PolicyPause: 2500, PolicyStepBack: 500} {
		t.Run(string(policy), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				plan := testPlan()
				plan.OnRegress = policy
				p := boot(t, w, plan, 0)
				defer p.stop()
				p.start()
				p.await("25%", func(s Status) bool { return s.Weight == 2500 })
				w.with(func() { w.bad = sick })
				s := p.awaitPhase(PhasePaused)
				if s.Stop.Cause != CauseRegress || s.Weight != weight {
					t.Errorf("stop %+v at %s, want %s", s.Stop, s.Weight, weight)
				}
				_, err := p.c.Do(t.Context(), shopName, VerbResume, Request{Who: "bob"})
				refusedWith(t, ExitRegress, err)
				_, err = p.c.Do(t.Context(), shopName, VerbPromote, Request{Who: "bob"})
				refusedWith(t, ExitRegress, err)
				p.do(VerbRollback)
				if s, _ := p.awaitOver(); s.Phase != PhaseRolledBack || s.Exit != ExitRolledBack {
					t.Errorf("%s exit %d", s.Phase, s.Exit)
				}
			})
		})
	}
}

func TestHydrationLostTakesTheWeightBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("25%", func(s Status) bool { return s.Weight == 2500 })
		good := w.ready
		w.with(func() {
			w.ready = func() Readiness {
				return Readiness{Hydrated: 2, Total: 3, Why: "answer is hydrating", Objects: []ObjectReadiness{{Name: "answer", State: "hydrating"}}}
			}
		})
		s, _ := p.await("weight taken back", func(s Status) bool { return s.Phase == PhaseRamping && s.Weight == 0 })
		if s.Canary != "deploy" || !strings.Contains(s.Sentence, "taken back") {
			t.Errorf("canary %s: %s", s.Canary, s.Sentence)
		}
		w.with(func() { w.ready = good })
		s, _ = p.awaitOver()
		if s.Phase != PhaseDone {
			t.Errorf("%s", s.Sentence)
		}
		routes := slices.DeleteFunc(w.happened(), func(e string) bool { return !strings.HasSuffix(e, "deploy") })
		if want := []string{"route 5% deploy", "route 25% deploy", "route 0% deploy", "route 25% deploy"}; !slices.Equal(routes, want) {
			t.Errorf("routes %v, want %v", routes, want)
		}
	})
}

func TestHydrationNeverComes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.ready = func() Readiness { return Readiness{Hydrated: 1, Total: 3, Why: "two views are hydrating"} }
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		s, _ := p.awaitOver()
		if s.Phase != PhaseExpired || s.Exit != ExitNotReady || !strings.Contains(s.End, "two views") || len(w.marks) != 0 {
			t.Errorf("%s exit %d: %s; marks %v", s.Phase, s.Exit, s.End, w.marks)
		}
	})
}

func TestPreflightRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.findings = []Finding{{Code: "P12", Severity: Warn, Object: "cluster prod_deploy"}, {Code: "P04", Severity: Refuse, Object: "view prod_deploy.answer", Sentence: "it reads prod.base"}}
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		s, _ := p.awaitOver()
		if s.Phase != PhaseRefused || s.Exit != ExitRefused || len(s.Findings) != 2 || count(w.happened(), "mark") != 0 {
			t.Errorf("%s exit %d findings %v, %v", s.Phase, s.Exit, s.Findings, w.happened())
		}
	})
}

func TestOutsideInterference(t *testing.T) {
	swapNames := func(w *world) {
		for _, names := range w.names {
			names["prod"], names["prod_deploy"] = names["prod_deploy"], names["prod"]
		}
	}
	for name, c := range map[string]struct {
		phase Phase
		do    func(*world)
	}{
		"somebody swaps":         {PhaseRamping, swapNames},
		"deploy cluster dropped": {PhaseRamping, func(w *world) { delete(w.names[KindCluster], "prod_deploy") }},
		"renamed in the window":  {PhaseWindow, func(w *world) { w.names[KindSchema]["prod"] = "u9" }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				plan := testPlan()
				plan.Steps[1].Bake, plan.Window.For = time.Hour, time.Hour
				p := boot(t, w, plan, 0)
				defer p.stop()
				p.start()
				if c.phase == PhaseWindow {
					p.await("25%", func(s Status) bool { return s.Weight == 2500 })
					p.do(VerbPromote)
				}
				p.await("traffic", func(s Status) bool { return s.Phase == c.phase && (s.Weight == 2500 || s.Phase == PhaseWindow) })
				undo := w.names[KindSchema]["prod"]
				w.with(func() { c.do(w) })
				began := time.Now()
				s := p.awaitPhase(PhaseBlocked)
				if s.Stop.Cause != CauseInterference || s.Stop.Exit != ExitRace || len(s.Stop.Diff) == 0 || s.Weight != 0 || s.Canary != "closed" {
					t.Errorf("stop %+v, weight %s on %s", s.Stop, s.Weight, s.Canary)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("noticed after %s", took)
				}
				if c.phase == PhaseWindow {
					_, err := p.c.Do(t.Context(), shopName, VerbRollback, Request{Who: "bob"})
					refusedWith(t, ExitRace, err)
					p.do(VerbRetry)
					synctest.Wait()
					if s, _ := p.c.Status(shopName); s.Phase != PhaseBlocked {
						t.Errorf("retry went on although the names are wrong: %s", s.Sentence)
					}
					w.with(func() { w.names[KindSchema]["prod"] = undo })
					p.do(VerbRetry)
					p.awaitPhase(PhaseWindow)
					return
				}
				p.do(VerbRollback)
				if s, _ := p.awaitOver(); s.Phase != PhaseAborted || count(w.happened(), "commit") != 0 || !strings.Contains(s.End, "was") {
					t.Errorf("%s", s.Sentence)
				}
			})
		})
	}
}

func TestDropIsGuarded(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(w *world, retired string)
		cause Cause
	}{
		"another object under the name": {func(w *world, r string) { w.names[KindCluster][r] = "c77" }, CauseInterference},
		"a dependent outside":           {func(w *world, _ string) { w.deps = []Dependent{{Kind: "view", Name: "reports.daily"}} }, CauseInUse},
		"a subscription of others":      {func(w *world, _ string) { w.subs = []Dependent{{Kind: "subscription", Name: "x"}} }, CauseInUse},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				s := p.start()
				p.awaitPhase(PhaseWindow)
				w.with(func() { c.fault(w, RetiredName("prod_deploy", s.Rollout)) })
				s = p.awaitPhase(PhaseBlocked)
				if s.Stop.Cause != c.cause {
					t.Errorf("stop %+v, want %s", s.Stop, c.cause)
				}
				for _, e := range w.happened() {
					if strings.HasPrefix(e, "drop") {
						t.Errorf("dropped all the same: %s", e)
					}
				}
				if c.cause == CauseInUse { // it goes on by itself
					w.with(func() { w.deps, w.subs = nil, nil })
					if s, _ := p.awaitOver(); s.Phase != PhaseDone {
						t.Errorf("%s", s.Sentence)
					}
				}
			})
		})
	}
}

func TestDrainTerminates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.awaitPhase(PhaseWindow)
		w.with(func() { w.old = []SessionInfo{{ID: "s7", Place: Streaming, OldVersion: true}} })
		s := p.awaitPhase(PhaseDraining)
		s, _ = p.await("census", func(s Status) bool { return s.After != nil && len(s.After.Old) == 1 })
		if n := count(w.happened(), "end old"); n != 0 {
			t.Errorf("ended %d before the deadline", n)
		}
		p.await("the notice", func(s Status) bool { return s.After.Notified == 1 })
		if len(w.notices) != 1 || !strings.Contains(w.notices[0], "ended with 57P01 in "+testPlan().Drain.For.String()) {
			t.Errorf("notices %q", w.notices)
		}
		s, _ = p.awaitOver()
		if s.Phase != PhaseDone || count(w.happened(), "end old") != 1 {
			t.Errorf("%s: %v", s.Phase, w.happened())
		}
	})
}

func TestFenceOffWaitsForCleanup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		plan := testPlan()
		plan.Promote.Fence = false
		p := boot(t, w, plan, 0)
		defer p.stop()
		p.start()
		s := p.awaitPhase(PhasePaused)
		if s.Stop.Cause != CauseCleanup || w.name(KindSchema, "prod_deploy") != oldSchema {
			t.Fatalf("stop %+v, names %v", s.Stop, w.names)
		}
		p.do(VerbCleanup)
		if s, _ := p.awaitOver(); s.Phase != PhaseDone || w.name(KindSchema, "prod_deploy") != "" {
			t.Errorf("%s, names %v", s.Phase, w.names)
		}
	})
}

func TestServerRestartInRamp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		plan := testPlan()
		plan.Steps[0].Bake = 30 * time.Second
		p := boot(t, w, plan, 0)
		defer p.stop()
		p.start()
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		time.Sleep(5 * time.Second)
		w.with(func() { w.down, w.bad = true, outage }) // everybody sees errors while it is away
		s := p.awaitPhase(PhasePaused)
		if s.Stop.Cause != CauseUpstream || !s.Stop.Auto || s.Weight != 500 {
			t.Fatalf("stop %+v at %s", s.Stop, s.Weight)
		}
		_, err := p.c.SetWeight(t.Context(), shopName, 5000, Request{Who: "bob"})
		refusedWith(t, ExitConnect, err)
		w.with(func() {
			w.down, w.bad = false, nil
			w.server.Version, w.server.Started = "v26.5", time.Unix(9000, 0)
		})
		s, _ = p.await("going on", func(s Status) bool { return s.Phase == PhaseRamping })
		if s.Server.Version != "v26.5" || count(w.happened(), "restore evidence") == 0 {
			t.Errorf("server %+v, happened %v", s.Server, w.happened())
		}
		if w.with(func() {}); len(w.evidence.Cohorts) != 0 {
			t.Errorf("the errors of the outage are still evidence: %+v", w.evidence.Cohorts)
		}
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("%s", s.Sentence)
		}
	})
}

// Marks that are still being set when the rollout ends are removed after that.
func TestMarksAreRemovedAfterTheyWereSet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.waitsForMark = make(chan struct{})
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		time.Sleep(time.Second) // preflight has passed, the marks are on their way
		p.do(VerbRollback)
		synctest.Wait()
		if n := count(w.happened(), "unmark"); n != 0 {
			t.Error("marks were removed before they were set")
		}
		close(w.waitsForMark)
		if s, _ := p.awaitOver(); s.Phase != PhaseRolledBack || len(w.marks) != 0 {
			t.Errorf("%s; marks left behind: %v", s.Phase, w.marks)
		}
	})
}

package deploy

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestAdoptAfterALostJournal loses the journal in every phase and rebuilds it from
// the marks: the crash table's row "no journal". Where the names are swapped it goes
// on in the window; otherwise production is the old version and the rollout is over.
func TestAdoptAfterALostJournal(t *testing.T) {
	for name, change := range map[string]func(*Plan){"fence": func(*Plan) {}, "no fence": func(p *Plan) { p.Promote.Fence = false }} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, pl place) {
				was := pl.plan
				pl.plan = func(p *Plan) {
					if change(p); was != nil {
						was(p)
					}
				}
				if name == "no fence" && pl.phase == PhaseCleaning {
					pl.bring = func(p *program) { p.await("by hand", stopped(CauseCleanup)) }
				}
				w := newWorld(t)
				p := pl.boot(t, w)
				lost := p.now().Rollout
				p.stop()
				w.with(func() {
					w.journal, w.stragglers, w.subs, w.deps, w.hanging = nil, nil, nil, nil, 0
					w.ready = func() Readiness { return Readiness{Ready: true, Why: "ready"} }
				})
				pl.adopted(t, w, lost, change)
			})
		})
	}
}

// adopted finds the marks of a lost rollout, adopts it and sees it to its end.
func (pl place) adopted(t *testing.T, w *world, lost string, change func(*Plan)) {
	plan := testPlan()
	change(&plan)
	p := boot(t, w, plan, 0)
	defer p.stop()
	if pl.phase == PhasePreflight { // nothing was touched yet, and nothing is found
		w.with(w.letPreflight)
		<-p.c.Recovered()
		if s := p.now(); s.Phase != PhaseIdle || s.Stop != nil {
			t.Errorf("found as %s", show(s))
		}
		return
	}
	s := p.awaitPhase(PhaseBlocked)
	if s.Weight != 0 || s.Canary != "closed" || !strings.Contains(s.Stop.Next, "adopt "+lost) {
		t.Fatalf("found as %+v", s)
	}
	_, err := p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: "r9zzzzz"})
	refusedWith(t, ExitUsage, err)
	w.with(func() { w.events = nil })
	if s, err = p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: lost, Reason: "the disk was lost"}); err != nil {
		t.Fatal(err)
	}
	// No COMMIT of the lost process may land after the names were read.
	w.with(func() {
		if b := slices.Index(w.events, "barrier"); b < 0 || !slices.Contains(w.events[b:], "identify") {
			t.Errorf("no names were read behind a barrier: %v", w.events)
		}
	})
	end, live := PhaseRolledBack, oldSchema
	if pl.phase.swapped() {
		end, live = PhaseDone, newSchema
	}
	if s.Rollout != lost || end == PhaseDone && s.Phase != PhaseWindow {
		t.Errorf("adopted as %s in %s", s.Rollout, s.Phase)
	}
	if end == PhaseDone && !plan.Promote.Fence { // the old version stands under the deploy names: a person drops it
		p.await("cleanup by hand", stopped(CauseCleanup))
		p.do(VerbCleanup)
	}
	if s, _ = p.awaitOver(); s.Phase != end {
		t.Fatalf("ended in %s: %s", s.Phase, s.Sentence)
	}
	if w.name(KindSchema, "prod") != live || len(w.marks) != 0 || w.name(KindSchema, RetiredName("prod_deploy", lost)) != "" {
		t.Errorf("names %v, marks %v", w.names, w.marks)
	}
	_, err = p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: lost})
	refusedWith(t, ExitUsage, err)
}

// The cluster was dropped already when the journal was lost: what is left is dropped.
func TestAdoptWithOnePartGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		lost := p.start().Rollout
		p.awaitConfirmed()
		p.stop()
		w.with(func() {
			w.journal = nil
			delete(w.names[KindCluster], RetiredName("prod_deploy", lost))
			delete(w.marks, oldCluster)
		})
		p = boot(t, w, testPlan(), 0)
		defer p.stop()
		p.awaitPhase(PhaseBlocked)
		if _, err := p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: lost}); err != nil {
			t.Fatal(err)
		}
		if s, _ := p.awaitOver(); s.Phase != PhaseDone || len(w.names[KindSchema])+len(w.names[KindCluster]) != 2 || len(w.marks) != 0 {
			t.Errorf("%s; names %v, marks %v", show(s), w.names, w.marks)
		}
	})
}

// An adopted window can be swapped back like any other.
func TestRollbackOfAnAdoptedRollout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		lost := p.start().Rollout
		p.awaitPhase(PhaseWindow)
		p.stop()
		w.with(func() { w.journal, w.marks = nil, map[string]Mark{} }) // the retired names alone are enough
		p = boot(t, w, testPlan(), 0)
		defer p.stop()
		if s := p.awaitPhase(PhaseBlocked); !strings.Contains(s.Stop.Reason, "the retired name prod_deploy_retired_"+lost) {
			t.Errorf("%s", s.Stop.Reason)
		}
		if _, err := p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: lost}); err != nil {
			t.Fatal(err)
		}
		p.do(VerbRollback)
		if s, _ := p.awaitOver(); s.Phase != PhaseRolledBack || w.name(KindSchema, "prod") != oldSchema || w.name(KindSchema, "prod_deploy") != newSchema {
			t.Errorf("%s; names %v", s.Sentence, w.names)
		}
	})
}

// Names that do not agree are nobody's to guess at.
func TestAdoptRefusesWhatDoesNotAgree(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		says   string
	}{
		"half swapped": {func(w *world) {
			w.names[KindSchema] = map[string]string{"prod": newSchema, "prod_deploy_retired_rlost": oldSchema}
		}, "do not agree"},
		"live name gone": {func(w *world) { delete(w.names[KindCluster], "prod") }, "cluster prod does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.marks[oldSchema] = Mark{Rollout: "rlost", Phase: "window", Side: "old"}
				c.change(w)
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				p.awaitPhase(PhaseBlocked)
				_, err := p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: "rlost"})
				if no := refusedWith(t, ExitHuman, err); !strings.Contains(no.Sentence, c.says) {
					t.Errorf("%s", no.Sentence)
				}
				synctest.Wait()
				if s, _ := p.c.Status(shopName); s.Phase != PhaseBlocked || s.Rollout != "" {
					t.Errorf("a refused adoption left %s %s", s.Phase, s.Rollout)
				}
			})
		})
	}
}

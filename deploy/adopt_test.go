package deploy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAdoptAfterALostJournal loses the journal in every phase and rebuilds it from
// the marks: the crash table's row "no journal".
func TestAdoptAfterALostJournal(t *testing.T) {
	retired := func(kind Kind) func(*world) bool {
		return func(w *world) bool {
			for name := range w.names[kind] {
				if strings.Contains(name, "_retired_") {
					return true
				}
			}
			return false
		}
	}
	for name, c := range map[string]struct {
		plan  func(*Plan)
		world func(*world)
		at    func(Status) bool
		back  bool // the rollout is swapping back, or has
		end   Phase
	}{
		"hydrating": {world: func(w *world) { w.ready = func() Readiness { return Readiness{Why: "hydrating"} } },
			at: func(s Status) bool { return s.Phase == PhaseHydrating }, end: PhaseRolledBack},
		"ramping": {at: func(s Status) bool { return s.Weight == 2500 }, end: PhaseRolledBack},
		"promoting": {world: func(w *world) { w.stragglers = []SessionInfo{{ID: "s1", Place: Busy, Age: time.Hour}} },
			at: func(s Status) bool { return s.Phase == PhasePromoting }, end: PhaseRolledBack},
		"window": {at: func(s Status) bool { return s.Phase == PhaseWindow }, end: PhaseDone},
		"window without a fence": {plan: func(p *Plan) { p.Promote.Fence = false },
			at: func(s Status) bool {
				return s.Phase == PhaseWindow && len(s.Pairs) > 0 && s.Swap.Record != nil && s.Events[len(s.Events)-1].What == "confirmed by ids"
			}, end: PhaseDone},
		"draining": {world: func(w *world) { w.subs = []Dependent{{Kind: "subscription", Name: "bi"}} },
			at: func(s Status) bool { return s.Under == PhaseDraining || s.Phase == PhaseDraining }, end: PhaseDone},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				if c.world != nil {
					c.world(w)
				}
				plan := testPlan()
				if c.plan != nil {
					c.plan(&plan)
				}
				p := boot(t, w, plan, 0)
				s := p.start()
				lost := s.Rollout
				p.await(name, c.at)
				p.stop()
				w.with(func() {
					w.journal, w.stragglers, w.subs = nil, nil, nil
					w.ready = func() Readiness { return Readiness{Ready: true, Why: "ready"} }
				})

				p = boot(t, w, plan, 0)
				defer p.stop()
				s = p.awaitPhase(PhaseBlocked)
				if s.Weight != 0 || s.Canary != "closed" || !strings.Contains(s.Stop.Next, "adopt "+lost) {
					t.Fatalf("found as %+v", s)
				}
				_, err := p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: "r9zzzzz"})
				refusedWith(t, ExitUsage, err)
				if s, err = p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: lost, Reason: "the disk was lost"}); err != nil {
					t.Fatal(err)
				}
				if s.Rollout != lost || c.end == PhaseDone && s.Phase != PhaseWindow {
					t.Errorf("adopted as %s in %s", s.Rollout, s.Phase)
				}
				if !plan.Promote.Fence { // the old version stands under the deploy names: a person drops it
					p.await("cleanup by hand", stopped(CauseCleanup))
					p.do(VerbCleanup)
				}
				s, _ = p.awaitOver()
				if s.Phase != c.end {
					t.Fatalf("ended in %s: %s", s.Phase, s.Sentence)
				}
				live := map[Phase]string{PhaseDone: newSchema, PhaseRolledBack: oldSchema}[c.end]
				if w.name(KindSchema, "prod") != live || len(w.marks) != 0 || retired(KindSchema)(w) {
					t.Errorf("names %v, marks %v", w.names, w.marks)
				}
				_, err = p.c.Do(t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: lost})
				refusedWith(t, ExitUsage, err)
			})
		})
	}
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

package deploy

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Wherever one stands, the other goes its whole way; then the first does. In between
// the process dies, and both go on where they were.
func TestOneStandsTheOtherGoesOn(t *testing.T) {
	for name, crash := range map[string]bool{"": false, "with a crash": true} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, pl place) {
				w := newTwo(t)
				plan := testPlan()
				if pl.world != nil {
					pl.world(w.shop)
				}
				if pl.plan != nil {
					pl.plan(&plan)
				}
				plans := map[string]Plan{shopName: plan, martName: testPlan()}
				ctl, stop := w.bootPlans(t, plans)
				p := &program{t: t, w: w.shop, l: w.lives[shopName], c: ctl}
				startThe(t, ctl, shopName)
				pl.arrive(p)
				startThe(t, ctl, martName)
				if crash {
					until(t, ctl, martName, func(s Status) bool { return s.Phase == PhaseWindow })
					w.crash()
					stop()
					ctl, stop = w.bootPlans(t, plans)
					p = &program{t: t, w: w.shop, l: w.lives[shopName], c: ctl}
				}
				defer func() { stop() }()
				mart := until(t, ctl, martName, ended(PhaseDone))
				if mart.Exit != ExitDone || w.mart.name(KindSchema, "prod") != newSchema {
					t.Errorf("the other ended with %d: %s; names %v", mart.Exit, mart.Sentence, w.mart.names)
				}
				s := p.now()
				if !crash || pl.phase != PhaseRollingBack { // whom that waits for is gone with the process
					s, _ = p.await(pl.name, pl.in)
				}
				for _, e := range s.Events {
					if strings.Contains(e.Why, mart.Rollout) {
						t.Errorf("shop speaks of the other's rollout: %+v", e)
					}
				}
				pl.leave(p)
			})
		})
	}
}

// Swapping back of one and promoting of the other take turns too, whatever fails.
func TestOneSwapsBackTheOtherPromotes(t *testing.T) {
	for name, faults := range map[string][]commitFault{
		"nothing fails": nil,
		"conflicts":     {{outcome: NotDone, err: ErrConflict}, {outcome: NotDone, err: ErrConflict}},
		"lost, done":    {{outcome: Unknown, silent: true, applied: true}},
		"lost, not":     {{outcome: Unknown, err: errCut}},
		"refused":       {{outcome: NotDone, err: errors.New("no")}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newTwo(t)
				plan := testPlan()
				plan.Window.For = time.Hour
				ctl, stop := w.bootPlans(t, map[string]Plan{shopName: plan, martName: testPlan()})
				defer stop()
				startThe(t, ctl, shopName)
				until(t, ctl, shopName, func(s Status) bool { return s.Phase == PhaseWindow })
				startThe(t, ctl, martName)
				until(t, ctl, martName, func(s Status) bool { return s.Phase == PhasePromoting })
				w.shop.with(func() { w.shop.commits = faults })
				back := func() {
					if _, err := ctl.Do(t.Context(), shopName, VerbRollback, Request{Who: "bob"}); err != nil {
						t.Fatal(err)
					}
				}
				back()
				until(t, ctl, martName, ended(PhaseDone))
				if name == "refused" {
					until(t, ctl, shopName, stopped(CauseError))
					if _, err := ctl.Do(t.Context(), shopName, VerbRetry, Request{Who: "bob"}); err != nil {
						t.Fatal(err)
					}
				}
				until(t, ctl, shopName, ended(PhaseRolledBack))
				if w.shop.name(KindSchema, "prod") != oldSchema || w.mart.name(KindSchema, "prod") != newSchema {
					t.Errorf("names %v and %v", w.shop.names, w.mart.names)
				}
			})
		})
	}
}

// After a restart sessions may be held for a COMMIT of the process before; then the
// other deployment does not read either, not even for its own recovery.
func TestNobodyReadsWhileARestartHolds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newTwo(t)
		w.shop.waitsForCommit = make(chan struct{})
		plans := map[string]Plan{shopName: testPlan(), martName: testPlan()}
		ctl, stop := w.bootPlans(t, plans)
		startThe(t, ctl, shopName)
		startThe(t, ctl, martName)
		until(t, ctl, shopName, func(s Status) bool { return s.Swap != nil && s.Swap.Stage == StagePrepared })
		time.Sleep(10 * time.Millisecond)
		w.crash()
		close(w.shop.waitsForCommit)
		stop()
		w.shop.with(func() { w.shop.lingers = 100 }) // of 25 ms each
		ctl, stop = w.bootPlans(t, plans)
		defer stop()
		began := time.Now()
		for _, name := range []string{shopName, martName} {
			until(t, ctl, name, ended(PhaseDone))
		}
		if count(w.shop.happened(), "hold") < 2 || time.Since(began) < 2*time.Second {
			t.Errorf("nobody was held: %v", w.shop.happened())
		}
	})
}

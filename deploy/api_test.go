package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mzcanary/router"
)

func TestUnknownNamesAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		<-p.c.Recovered()
		_, err := p.c.Start(t.Context(), "nobody", StartRequest{})
		refusedWith(t, ExitUsage, err)
		for _, v := range Verbs() {
			if v == VerbWeight {
				continue
			}
			_, err := p.c.Do(t.Context(), shopName, v, Request{Who: "bob"})
			refusedWith(t, ExitUsage, err)
		}
		_, err = p.c.SetWeight(t.Context(), shopName, 0, Request{Who: "bob"})
		refusedWith(t, ExitUsage, err)
		_, err = p.c.SetWeight(t.Context(), shopName, 10_001, Request{Who: "bob"})
		refusedWith(t, ExitUsage, err)
		if len(w.happened()) != 0 {
			t.Errorf("something was done: %v", w.happened())
		}
		p.start()
		_, err = p.c.Do(t.Context(), shopName, VerbRollback, Request{Rollout: "r9zzzzz", Who: "bob"})
		refusedWith(t, ExitUsage, err)
	})
}

func TestTwoOperatorsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		<-p.c.Recovered()
		both := func(f func(who string) error) (won int) {
			var mu sync.Mutex
			var wg sync.WaitGroup
			for _, who := range []string{"ann", "bob"} {
				wg.Go(func() {
					err := f(who)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won++
					} else if _, ok := errors.AsType[*Refusal](err); !ok {
						t.Errorf("%s: %v", who, err)
					}
				})
			}
			wg.Wait()
			return won
		}
		if n := both(func(who string) error {
			_, err := p.c.Start(t.Context(), shopName, StartRequest{Who: who})
			return err
		}); n != 1 {
			t.Errorf("%d of two starts were accepted", n)
		}
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		if n := both(func(who string) error {
			_, err := p.c.Do(t.Context(), shopName, VerbRollback, Request{Who: who})
			return err
		}); n != 1 {
			t.Errorf("%d of two rollbacks were accepted", n)
		}
		p.awaitOver()
	})
}

func TestStartWhileAnotherRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.awaitPhase(PhaseWindow)
		_, err := p.c.Start(t.Context(), shopName, StartRequest{Who: "bob"})
		if no := refusedWith(t, ExitRace, err); !strings.Contains(no.Next, "cleanup") {
			t.Errorf("next: %q", no.Next)
		}
		p.do(VerbCleanup)
		first, _ := p.awaitOver()
		w.with(func() { w.names[KindSchema]["prod_deploy"], w.names[KindCluster]["prod_deploy"] = "u5", "c5" })
		second := p.start()
		if second.Rollout == first.Rollout {
			t.Error("two rollouts with one id")
		}
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		w.with(func() {
			if w.routing.Swaps != 1 || w.routing.Salt == 0 {
				t.Errorf("routing of the second rollout: %+v", w.routing)
			}
		})
	})
}

func TestWeightByHandDuringARollout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		s, err := p.c.SetWeight(t.Context(), shopName, 4000, Request{Who: "bob", Reason: "more"})
		if err != nil || s.Phase != PhasePaused || s.Weight != 4000 || s.Stop.Owner != "bob" {
			t.Fatalf("%+v, %v", s, err)
		}
		time.Sleep(time.Minute)
		if s, _ := p.c.Status(shopName); s.Weight != 4000 || s.Phase != PhasePaused {
			t.Errorf("the plan went on by itself: %s", s.Sentence)
		}
		p.do(VerbResume)
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("%s", s.Sentence)
		}
	})
}

func TestCanaryOpenedByHand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		<-p.c.Recovered()
		w.findings = []Finding{{Code: "P04", Severity: Refuse, Object: "view x", Sentence: "reads prod"}}
		_, err := p.c.SetWeight(t.Context(), shopName, 3000, Request{Who: "bob"})
		if no := refusedWith(t, ExitRefused, err); len(no.Findings) != 1 {
			t.Errorf("findings %v", no.Findings)
		}
		w.findings = nil
		good := w.ready
		w.ready = func() Readiness { return Readiness{Why: "hydrating"} }
		_, err = p.c.SetWeight(t.Context(), shopName, 3000, Request{Who: "bob"})
		refusedWith(t, ExitNotReady, err)
		w.ready = good
		s, err := p.c.SetWeight(t.Context(), shopName, 3000, Request{Who: "bob"})
		if err != nil || s.Weight != 3000 || !s.Hand || s.Rollout == "" {
			t.Fatalf("%+v, %v", s, err)
		}
		_, err = p.c.Start(t.Context(), shopName, StartRequest{Who: "ann"})
		refusedWith(t, ExitRace, err)
		p.stop()

		p = boot(t, w, testPlan(), 0) // it is journaled like any rollout
		defer p.stop()
		s, _ = p.await("the weight again", func(s Status) bool { return s.Weight == 3000 && s.Recovering == "" })
		if !s.Hand || s.Phase != PhaseRamping || s.Stop != nil {
			t.Errorf("after a restart: %+v", s)
		}
		if s, err = p.c.SetWeight(t.Context(), shopName, 0, Request{Who: "bob"}); err != nil {
			t.Fatal(err)
		}
		if s, _ = p.awaitOver(); s.Phase != PhaseRolledBack || len(w.marks) != 0 {
			t.Errorf("%s, marks %v", s.Sentence, w.marks)
		}
	})
}

// Another weight is just another weight: there is no plan that could pause.
func TestWeightOfACanaryOpenedByHand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		<-p.c.Recovered()
		weigh := func(weight router.Weight, r Request) (Status, error) {
			return p.c.SetWeight(t.Context(), shopName, weight, r)
		}
		for _, weight := range []router.Weight{3000, 1000, 5000} {
			s, err := weigh(weight, Request{Who: "bob", Reason: "a look"})
			if err != nil || s.Weight != weight || s.Phase != PhaseRamping || s.Stop != nil || s.Step != nil {
				t.Fatalf("at %s: %+v, %v", weight, s, err)
			}
			if !strings.Contains(s.Sentence, "opened by hand at "+weight.String()) || strings.Contains(s.Sentence, "paused") {
				t.Errorf("at %s the status says %s", weight, s.Sentence)
			}
		}
		for _, v := range []Verb{VerbPause, VerbResume, VerbApprove} {
			_, err := p.c.Do(t.Context(), shopName, v, Request{Who: "bob"})
			refusedWith(t, ExitUsage, err)
		}
		time.Sleep(time.Hour) // nothing moves it
		if s, _ := p.c.Status(shopName); s.Weight != 5000 || s.Overdue {
			t.Errorf("an hour later: %s %s", s.Weight, s.Sentence)
		}

		// A restarted server is waited for, and the weight not raised meanwhile.
		w.with(func() {
			w.server.Started = w.server.Started.Add(time.Hour)
			w.ready = func() Readiness { return Readiness{Why: "hydrating"} }
		})
		p.await("the server's restart", func(s Status) bool { return s.Stop != nil && s.Stop.Cause == CauseUpstream })
		_, err := weigh(9000, Request{Who: "bob"})
		refusedWith(t, ExitConnect, err)
		if s, err := weigh(2000, Request{Who: "bob"}); err != nil || s.Weight != 2000 || s.Stop == nil {
			t.Errorf("lowered: %+v, %v", s, err)
		}
		w.with(func() { w.ready = func() Readiness { return Readiness{Ready: true, Why: "ready"} } })
		p.await("well again", func(s Status) bool { return s.Stop == nil && s.Weight == 2000 })

		if _, err := weigh(0, Request{Who: "bob"}); err != nil {
			t.Fatal(err)
		}
		if s, _ := p.awaitOver(); s.Phase != PhaseRolledBack {
			t.Errorf("%s", s.Sentence)
		}
	})
}

func TestForcedCanaryStaysWhenNobodyKnows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		<-p.c.Recovered()
		w.with(func() { w.ready = func() Readiness { return Readiness{Why: "hydrating"} } })
		s, err := p.c.SetWeight(t.Context(), shopName, 3000, Request{Who: "bob", Force: true})
		if err != nil || s.Weight != 3000 {
			t.Fatalf("%+v, %v", s, err)
		}
		time.Sleep(time.Minute)
		if s, _ := p.c.Status(shopName); s.Weight != 3000 {
			t.Errorf("the weight somebody forced was taken back: %s", s.Sentence)
		}
	})
}

func TestWaitEndsWithTheRightCode(t *testing.T) {
	for name, c := range map[string]struct {
		world func(*world)
		plan  func(*Plan)
		until Until
		code  int
	}{
		"promoted":    {nil, nil, UntilPromoted, ExitDone},
		"done":        {nil, nil, UntilDone, ExitDone},
		"refused":     {func(w *world) { w.findings = []Finding{{Code: "P01", Severity: Refuse}} }, nil, UntilDone, ExitRefused},
		"not ready":   {func(w *world) { w.ready = func() Readiness { return Readiness{} } }, nil, UntilDone, ExitNotReady},
		"regress":     {func(w *world) { w.bad = sick }, nil, UntilPromoted, ExitRegress},
		"needs human": {func(w *world) { w.commits = []commitFault{{outcome: NotDone, err: errors.New("permission denied")}} }, nil, UntilPromoted, ExitHuman},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				if c.world != nil {
					c.world(w)
				}
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				s := p.start()
				if s, code := p.c.Wait(t.Context(), shopName, s.Rollout, c.until); code != c.code {
					t.Errorf("exit %d (%s), want %d", code, s.Sentence, c.code)
				}
				if _, code := p.c.Wait(t.Context(), shopName, "r0000", c.until); code != ExitRace {
					t.Errorf("waiting for another rollout ends with %d", code)
				}
			})
		})
	}
	bubble(t, func(t *testing.T) {
		p := boot(t, newWorld(t), testPlan(), 0)
		defer p.stop()
		s := p.start()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, code := p.c.Wait(ctx, shopName, s.Rollout, UntilDone); code != ExitInterrupted {
			t.Errorf("an interrupted wait ends with %d", code)
		}
	})
}

func TestTakeOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.findings = []Finding{{Code: "P14", Severity: Refuse, Object: "schema prod", Sentence: "rollout rlost owns it"}}
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		if s, _ := p.awaitOver(); s.Phase != PhaseRefused {
			t.Fatalf("%s", s.Sentence)
		}
		if _, err := p.c.Start(t.Context(), shopName, StartRequest{Who: "ann", TakeOver: true}); err != nil {
			t.Fatal(err)
		}
		p.await("done", func(s Status) bool { return s.Phase == PhaseDone })
	})
}

// A clock that jumps, or a process that slept, does not end a window, and delays the drops.
func TestClockStep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		var jump time.Duration
		plan := testPlan()
		plan.Drain.Settle, plan.Window.For = 5*time.Minute, time.Minute
		p := boot(t, w, plan, 0, func(o *Options) {
			o.Clock = func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				return time.Now().Add(jump)
			}
		})
		defer p.stop()
		p.start()
		p.awaitPhase(PhaseWindow)
		began := time.Now()
		mu.Lock()
		jump = 48 * time.Hour
		mu.Unlock()
		// Draining may take no time at all, so the status may never show it.
		p.await("the window's end", func(s Status) bool { return s.Phase == PhaseDraining || s.Phase == PhaseCleaning })
		if got := time.Since(began); got < 59*time.Second || got > 70*time.Second {
			t.Errorf("the window of a minute took %s", got)
		}
		p.awaitOver()
		if got := time.Since(began); got < 5*time.Minute {
			t.Errorf("dropped %s after the clock had stepped, settle is 5m", got)
		}
	})
}

func TestDryRunPrintsEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := boot(t, newWorld(t), testPlan(), 0)
		defer p.stop()
		d, err := p.c.DryRun(shopName, nil)
		if err != nil || len(d.Promote) != 4 || len(d.SwapBack) != 4 || len(d.Cleanup) != 2 || len(d.Steps) != 4 {
			t.Errorf("%+v, %v", d, err)
		}
		all := fmt.Sprint(d.Promote, d.SwapBack, d.Cleanup)
		if strings.Contains(all, "materialize") == false || !strings.Contains(all, "<id>") {
			t.Errorf("%s", all)
		}
	})
}

// Promotions take turns: the second does not even prepare before the first has
// ended, and giving it up while it waits leaves no trace.
func TestPromotionsTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		turn := make(chan struct{}, 1)
		attempt := func(w *world) (*promotion, context.Context, context.CancelFunc) {
			l := w.restart(0)
			w.routing.Canary = router.CanaryDeploy
			d := dialect{kind: KindMaterialize, database: "materialize"}
			list, err := d.promote(plainPairs(testSpec(), true, "r1"), MethodSwap, "r1")
			if err != nil {
				t.Fatal(err)
			}
			live := Routing{Canary: router.CanaryLive}
			ctx, cancel := context.WithCancel(t.Context())
			return &promotion{w: fakeWarehouse{l}, t: fakeTraffic{l}, clock: time.Now, turn: turn,
				order: SwapOrder{Statements: list, Plan: testPlan().Promote, Commit: live},
				quiet: func(context.Context) {}, prepared: func(context.Context, Backend) error { return nil }}, ctx, cancel
		}
		first, second, third := newWorld(t), newWorld(t), newWorld(t)
		first.waitsForCommit = make(chan struct{})
		ends := make(chan Ended, 3)
		run := func(w *world) context.CancelFunc {
			p, ctx, cancel := attempt(w)
			go func() { ends <- p.run(ctx).End }()
			synctest.Wait()
			return cancel
		}
		defer run(first)()
		defer run(second)()
		giveUp := run(third)
		if len(second.happened()) != 0 {
			t.Errorf("the second promotion did not wait: %v", second.happened())
		}
		giveUp()
		if end := <-ends; end != EndStopped || len(third.happened()) != 0 {
			t.Errorf("given up while waiting: %s, %v", end, third.happened())
		}
		close(first.waitsForCommit)
		if a, b := <-ends, <-ends; a != EndDone || b != EndDone {
			t.Errorf("ended %s and %s", a, b)
		}
	})
}

package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mzcanary/router"
)

func TestJournalCannotBeWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("25%", func(s Status) bool { return s.Weight == 2500 })
		w.with(func() { w.saveError = errors.New("no space left on device") })
		time.Sleep(time.Minute)
		s, _ := p.c.Status(shopName)
		if !strings.Contains(s.JournalProblem, "no space left") {
			t.Errorf("problem: %q", s.JournalProblem)
		}
		if n := count(w.happened(), "prepare"); n != 0 {
			t.Errorf("a swap was prepared without a journal")
		}
		if ok, why := p.c.Ready(shopName); ok || !strings.Contains(why, "no space") {
			t.Errorf("ready %t: %s", ok, why)
		}
		_, err := p.c.Do(t.Context(), shopName, VerbPause, Request{Who: "bob"})
		refusedWith(t, ExitHuman, err)
		p.do(VerbRollback) // what only takes traffic away is done all the same
		synctest.Wait()
		w.with(func() {
			if w.routing.Weight != 0 {
				t.Errorf("weight %s after a rollback without a disk", w.routing.Weight)
			}
			w.saveError = nil
		})
		if s, _ := p.awaitOver(); s.Phase != PhaseRolledBack {
			t.Errorf("%s", s.Sentence)
		}
	})
}

// What was decided while the disk was full, and waits for it, is void when everybody
// was sent home meanwhile: the journal's return must not bring the old weight back.
func TestAHeldRouteDoesNotOutliveALaterOne(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(p *program)
		canary    router.CanaryState
	}{
		"interference": {func(p *program) {
			p.w.with(func() { p.w.names[KindSchema]["prod_deploy"] = "u9" })
			p.await("blocked", stopped(CauseInterference))
		}, router.CanaryClosed},
		"rollback": {func(p *program) { p.do(VerbRollback) }, router.CanaryClosed},
		"readiness is lost": {func(p *program) {
			p.w.with(func() {
				p.w.ready = func() Readiness { return Readiness{Why: "hydrating", Objects: []ObjectReadiness{{State: "hydrating"}}} }
			})
			p.await("taken back", func(s Status) bool { return s.Weight == 0 })
		}, router.CanaryDeploy},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				p.start()
				p.await("5%", func(s Status) bool { return s.Weight == 500 })
				w.with(func() { w.saveError = errors.New("no space left on device") })
				p.await("the step to 25% waits for the journal", func(s Status) bool { return s.Weight == 2500 })
				synctest.Wait()
				c.meanwhile(p)
				synctest.Wait()
				w.with(func() {
					if w.routing.Weight != 0 {
						t.Errorf("the router still says %s: what takes traffic away does not wait for a disk", w.routing.Weight)
					}
					w.saveError = nil
				})
				for range 8 {
					time.Sleep(500 * time.Millisecond)
					w.with(func() {
						if w.routing.Weight != 0 || w.routing.Canary != c.canary {
							t.Fatalf("with the journal back the router says %s %s: %v", w.routing.Weight, w.routing.Canary, filterRoutes(w.events))
						}
					})
				}
			})
		})
	}
}

func filterRoutes(events []string) []string {
	return slices.DeleteFunc(slices.Clone(events), func(e string) bool { return !strings.HasPrefix(e, "route") })
}

// A drop that waits for the journal is void once the rollout was given up: all names
// are left as they are then.
func TestAHeldDropIsVoidAfterAnAbort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.deps = []Dependent{{Kind: "view", Name: "reports.daily", Reason: "reads it"}}
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("in use", func(s Status) bool { return stopped(CauseInUse)(s) && s.Under == PhaseCleaning })
		w.with(func() { w.saveError, w.deps = errors.New("no space left on device"), nil })
		time.Sleep(10 * time.Second) // the next try of the drop is decided and waits
		p.do(VerbAbort)
		w.with(func() { w.saveError = nil })
		s, _ := p.awaitOver()
		time.Sleep(10 * time.Second)
		for _, e := range w.happened() {
			if strings.HasPrefix(e, "drop") {
				t.Errorf("%s after the rollout was given up (%s)", e, s.End)
			}
		}
	})
}

func TestSwapGoesOnWhenTheJournalIsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("25%", func(s Status) bool { return s.Weight == 2500 })
		w.with(func() { w.saveError = errors.New("read-only file system") })
		time.Sleep(20 * time.Second)
		w.with(func() { w.saveError = nil })
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("%s", s.Sentence)
		}
		if n := count(w.happened(), "commit"); n != 1 {
			t.Errorf("%d COMMITs", n)
		}
	})
}

func TestAnUnusableJournalIsNotActedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		bad := &JournalError{File: "shop.json", Why: "its checksum does not agree", Next: "put back a good copy"}
		p := boot(t, w, testPlan(), 0, func(o *Options) { o.Store = brokenStore{o.Store, bad} })
		defer p.stop()
		<-p.c.Recovered()
		s, _ := p.c.Status(shopName)
		if s.Phase != PhaseBlocked || !strings.Contains(s.Sentence, "shop.json") || s.Canary != "closed" {
			t.Errorf("status %s: %s", s.Phase, s.Sentence)
		}
		if s.StableIs != "stable (prod)" || s.CanaryIs != "canary (prod_deploy)" {
			t.Errorf("the versions are called %q and %q", s.StableIs, s.CanaryIs)
		}
		if ok, why := p.c.Ready(shopName); ok || !strings.Contains(why, "shop.json") {
			t.Errorf("ready %t: %s", ok, why)
		}
		_, err := p.c.Start(t.Context(), shopName, StartRequest{Who: "ann"})
		refusedWith(t, ExitHuman, err)
		_, err = p.c.Do(t.Context(), shopName, VerbRollback, Request{Who: "ann"})
		refusedWith(t, ExitHuman, err)
		time.Sleep(time.Minute)
		if len(w.events) != 0 {
			t.Errorf("something was done: %v", w.events)
		}
	})
}

func TestPairsMustNotChangeUnderARollout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		p.start()
		p.await("25%", func(s Status) bool { return s.Weight == 2500 })
		p.stop()
		p = boot(t, w, testPlan(), 0, func(o *Options) { o.Deployments[0].Spec.Clusters = nil })
		<-p.c.Recovered()
		if s, _ := p.c.Status(shopName); s.Phase != PhaseBlocked || s.Weight != 0 || !strings.Contains(s.Sentence, "pairs") {
			t.Errorf("%s", s.Sentence)
		}
		p.stop()
		p = boot(t, w, testPlan(), 0)
		defer p.stop()
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("%s", s.Sentence)
		}
	})
}

// A rollback does not have to wait for a disk, not even when a swap does.
func TestRollbackWhileASwapWaitsForTheJournal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("25%", func(s Status) bool { return s.Weight == 2500 })
		w.with(func() { w.fullAfter = "foreign" }) // read right before an attempt is journaled
		p.await("an attempt", func(s Status) bool { return s.Swap != nil && s.Swap.Tries == 1 })
		p.do(VerbRollback)
		synctest.Wait()
		w.with(func() {
			if w.routing.Weight != 0 {
				t.Errorf("weight %s", w.routing.Weight)
			}
			w.saveError = nil
		})
		if s, _ := p.awaitOver(); s.Phase != PhaseRolledBack || count(w.happened(), "prepare") != 0 {
			t.Errorf("%s; %v", s.Sentence, w.happened())
		}
	})
}

type brokenStore struct {
	Store
	err error
}

func TestMarksWithoutAJournal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.marks["u1"] = Mark{Ref: Ref{Kind: KindSchema, Name: "prod", ID: "u1"}, Rollout: "rlost", Phase: "ramping"}
		w.down = true
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		time.Sleep(time.Minute)
		if ok, why := p.c.Ready(shopName); ok || !strings.Contains(why, "live names") {
			t.Errorf("ready %t while the catalog cannot be read: %s", ok, why)
		}
		w.with(func() { w.down = false })
		s := p.awaitPhase(PhaseBlocked)
		if s.Stop.Cause != CauseJournal || !strings.Contains(s.Sentence, "rlost") {
			t.Errorf("%s", s.Sentence)
		}
		_, err := p.c.Start(t.Context(), shopName, StartRequest{Who: "ann"})
		refusedWith(t, ExitHuman, err)
		_, err = p.c.Do(t.Context(), shopName, VerbAbort, Request{Who: "ann"})
		refusedWith(t, ExitHuman, err)
		p.do(VerbAbort)
		synctest.Wait()
		if w.with(func() {}); len(w.marks) != 0 {
			t.Errorf("marks %v", w.marks)
		}
		p.start()
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("%s", s.Sentence)
		}
	})
}

func (b brokenStore) Load(context.Context, string) (*Journal, error) { return nil, b.err }

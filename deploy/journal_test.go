package deploy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

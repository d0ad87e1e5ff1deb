package deploy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mzcanary/router"
)

// abortAndDrop aborts with --drop-deploy.
func (p *program) abortAndDrop() (Status, error) {
	return p.c.Do(p.t.Context(), shopName, VerbAbort, Request{Who: "bob", Reason: "not this one", DropDeploy: true})
}

func TestAbortDropsTheNewVersion(t *testing.T) {
	for name, at := range map[string]func(Status) bool{
		"hydrating": func(s Status) bool { return s.Phase == PhaseHydrating },
		"ramping":   func(s Status) bool { return s.Weight == 2500 },
		"promoting": func(s Status) bool { return s.Phase == PhasePromoting },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.dropsNew = true
				if name == "promoting" {
					w.stragglers = []SessionInfo{{ID: "s1", Place: Busy, Age: time.Hour}}
				}
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				p.start()
				p.await(name, at)
				if _, err := p.abortAndDrop(); err != nil {
					t.Fatal(err)
				}
				s, _ := p.awaitOver()
				if s.Phase != PhaseAborted || !strings.Contains(s.End, "the new version was dropped") {
					t.Errorf("%s: %s", s.Phase, s.End)
				}
				if w.name(KindSchema, "prod") != oldSchema || w.name(KindCluster, "prod") != oldCluster || len(w.names[KindSchema])+len(w.names[KindCluster]) != 2 || len(w.marks) != 0 {
					t.Errorf("names %v, marks %v", w.names, w.marks)
				}
				got := w.happened()
				if c, sc := slices.Index(got, "drop cluster prod_deploy"), slices.Index(got, "drop schema prod_deploy"); c < 0 || sc < c {
					t.Errorf("happened %v", got)
				}
			})
		})
	}
}

// Never after the swap, never by another verb, never where names are not as recorded.
func TestNewVersionIsNotDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		<-p.c.Recovered()
		_, err := p.abortAndDrop()
		refusedWith(t, ExitUsage, err)
		p.start()
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		_, err = p.c.Do(t.Context(), shopName, VerbRollback, Request{Who: "bob", DropDeploy: true})
		refusedWith(t, ExitUsage, err)
		p.awaitPhase(PhaseWindow)
		_, err = p.abortAndDrop()
		refusedWith(t, ExitUsage, err)
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("%s", s.Sentence)
		}
	})
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		w.with(func() { w.names[KindSchema]["prod_deploy"] = "u9" })
		p.await("interference", stopped(CauseInterference))
		_, err := p.abortAndDrop()
		refusedWith(t, ExitRace, err)
	})
}

// Whoever still uses the new version keeps it standing; what others build on it too.
func TestDropOfTheNewVersionWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.dropsNew = true
		w.hanging = 1
		plan := testPlan()
		plan.OnRollback = OnRollback{}
		p := boot(t, w, plan, 0)
		defer p.stop()
		p.start()
		p.await("25%", func(s Status) bool { return s.Weight == 2500 })
		if _, err := p.abortAndDrop(); err != nil {
			t.Fatal(err)
		}
		s, _ := p.await("in use", stopped(CauseInUse))
		if s.Under != PhaseDropping || !strings.Contains(s.Stop.Reason, "the new version is still used") || s.Canary != router.CanaryClosed.String() {
			t.Errorf("%s in %s, canary %s", s.Stop.Reason, s.Under, s.Canary)
		}
		w.with(func() {
			w.hanging, w.deps = 0, []Dependent{{Kind: "view", Name: "reports.daily", Reason: "it reads it"}}
		})
		time.Sleep(time.Minute)
		if n := count(w.happened(), "drop cluster prod_deploy"); n != 0 {
			t.Errorf("dropped what reports.daily reads")
		}
		w.with(func() { w.deps = nil })
		if s, _ := p.awaitOver(); s.Phase != PhaseAborted || len(w.names[KindSchema]) != 1 {
			t.Errorf("%s; %v", s.Sentence, w.names)
		}
	})
}

// A refused abort changes nothing: neither does it drop what the accepted one did
// not ask for, nor does it keep what that one wanted dropped.
func TestRefusedAbortChangesNothing(t *testing.T) {
	for name, dropped := range map[string]bool{"the first keeps": false, "the first drops": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.dropsNew = true
				w.stragglers = []SessionInfo{{ID: "s1", Place: Busy}} // the gather takes its time
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				p.start()
				p.await("held", func(s Status) bool { return s.Swap != nil && s.Swap.Stage == StagePrepared })
				abort := func(who string, drop bool) error {
					_, err := p.c.Do(t.Context(), shopName, VerbAbort, Request{Who: who, DropDeploy: drop})
					return err
				}
				if err := abort("ann", dropped); err != nil {
					t.Fatal(err)
				}
				refusedWith(t, ExitUsage, abort("bob", !dropped))
				s, _ := p.awaitOver()
				if there := w.name(KindSchema, "prod_deploy") != ""; s.Phase != PhaseAborted || there == dropped {
					t.Errorf("%s: %s; the new version stands: %t", s.Phase, s.End, there)
				}
			})
		})
	}
}

package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mzcanary/router"
)

func TestConflictsAreRetried(t *testing.T) {
	conflict := fmt.Errorf("40001: %w", ErrConflict)
	for name, faults := range map[string]func(*world){
		"at prepare": func(w *world) { w.prepares = []error{conflict, conflict} },
		"at commit": func(w *world) {
			w.commits = []commitFault{{outcome: NotDone, err: conflict}, {outcome: NotDone, err: conflict}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				faults(w)
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				p.start()
				s, _ := p.awaitOver()
				if s.Phase != PhaseDone || s.Swap.Conflicts != 2 || len(s.Swap.History) != 3 {
					t.Errorf("ended in %s with %d conflicts and history %+v", s.Phase, s.Swap.Conflicts, s.Swap.History)
				}
				holds := count(w.happened(), "hold")
				if want := map[string]int{"at prepare": 1, "at commit": 3}[name]; holds != want {
					t.Errorf("%d holds, want %d: a conflict while preparing stalls nobody", holds, want)
				}
				if n := count(w.happened(), "commit"); n > 3 {
					t.Errorf("%d COMMITs", n)
				}
			})
		})
	}
}

func count(list []string, what string) int {
	n := 0
	for _, e := range list {
		if e == what {
			n++
		}
	}
	return n
}

func TestUnknownOutcomeIsDecidedByIds(t *testing.T) {
	cut := fmt.Errorf("connection reset: %w", ErrUnavailable)
	for name, c := range map[string]struct {
		fault commitFault
		also  func(*world)
		want  func(t *testing.T, p *program)
	}{
		"new": {commitFault{outcome: Unknown, err: cut, applied: true}, nil, func(t *testing.T, p *program) {
			s, _ := p.awaitOver()
			if s.Phase != PhaseDone || count(p.w.happened(), "commit") != 1 {
				t.Errorf("%s after %d COMMITs", s.Phase, count(p.w.happened(), "commit"))
			}
		}},
		"old": {commitFault{outcome: Unknown, err: cut}, nil, func(t *testing.T, p *program) {
			s, _ := p.awaitOver()
			if s.Phase != PhaseDone || count(p.w.happened(), "commit") != 2 {
				t.Errorf("%s after %d COMMITs", s.Phase, count(p.w.happened(), "commit"))
			}
		}},
		"silent": {commitFault{outcome: Unknown, silent: true, applied: true}, nil, func(t *testing.T, p *program) {
			s, _ := p.awaitOver()
			if got := s.Swap.Record.Closed; s.Phase != PhaseDone || got > 5*time.Second || got < 4*time.Second {
				t.Errorf("%s, gates closed for %s, bounded by max_stall of 5s", s.Phase, got)
			}
		}},
		"mixed": {commitFault{outcome: Unknown, err: cut}, func(w *world) {
			w.names[KindSchema]["prod"], w.names[KindSchema]["prod_deploy"] = newSchema, oldSchema
		}, func(t *testing.T, p *program) {
			s := p.awaitPhase(PhaseBlocked)
			if s.Stop.Cause != CauseInterference || len(s.Stop.Diff) == 0 || s.Canary != "closed" {
				t.Errorf("stop %+v, canary %s", s.Stop, s.Canary)
			}
			if _, err := p.c.Do(t.Context(), shopName, VerbPromote, Request{Who: "x", Force: true, Reason: "y"}); err == nil {
				t.Error("promote of a blocked rollout was accepted")
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.commits, w.lingers = []commitFault{c.fault}, 3
				if c.also != nil {
					w.lingers = 32 // beyond the bound of the hold, so that there is time to interfere
				}
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				p.start()
				if c.also != nil {
					p.await("resolving", func(s Status) bool { return s.Swap != nil && s.Swap.Stage == StageResolving })
					w.with(func() { c.also(w) })
				}
				c.want(t, p)
				order := filter(w.events, "commit", "backend gone", "barrier", "release")
				i, release := slices.Index(order, "commit"), slices.Index(order, "release")
				if looked := order[i+1 : release]; release < i || (count(looked, "backend gone") == len(looked)) != true || (len(looked) == 0) != c.fault.silent {
					t.Errorf("order after the lost COMMIT: %v; gates stay closed until its session has ended or the bound is reached", order)
				}
				if b, g := slices.Index(order, "barrier"), lastIndex(order, "backend gone"); b < g {
					t.Errorf("barrier before the lost session had ended: %v", order)
				}
			})
		})
	}
}

func filter(events []string, keep ...string) []string {
	return slices.DeleteFunc(slices.Clone(events), func(e string) bool { return !slices.Contains(keep, e) })
}

func lastIndex(list []string, what string) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == what {
			return i
		}
	}
	return -1
}

func TestGatherTimeout(t *testing.T) {
	straggler := SessionInfo{ID: "s3", User: "app", Place: Busy, Why: "transaction open", Age: 10 * time.Millisecond}
	for name, policy := range map[string]string{"wait": ThenWait, "terminate": ThenTerminate} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.stragglers = []SessionInfo{straggler} // always young: patience does not see it
				plan := testPlan()
				plan.Promote.Attempts, plan.Promote.Stragglers = 2, policy
				p := boot(t, w, plan, 0)
				defer p.stop()
				p.start()
				if policy == ThenTerminate {
					s, _ := p.awaitOver()
					if s.Phase != PhaseDone || count(w.happened(), "end stragglers") != 1 {
						t.Errorf("%s: %v", s.Phase, w.happened())
					}
					return
				}
				s := p.awaitPhase(PhasePaused)
				if s.Stop.Cause != CauseStragglers || !strings.Contains(s.Stop.Reason, "s3") || s.Swap.Attempts != 2 {
					t.Fatalf("stop %+v after %d attempts", s.Stop, s.Swap.Attempts)
				}
				for _, a := range s.Swap.History {
					if a.Closed < time.Second || a.Closed > 1100*time.Millisecond {
						t.Errorf("gates closed for %s, gather is 1s", a.Closed)
					}
				}
				if s.Weight != 2500 || s.Canary != "deploy" {
					t.Errorf("weight %s on %s after giving up", s.Weight, s.Canary)
				}
				w.with(func() { w.stragglers = nil })
				p.do(VerbRetry)
				if s, _ := p.awaitOver(); s.Phase != PhaseDone {
					t.Errorf("after retry: %s", s.Sentence)
				}
			})
		})
	}
}

func TestPatienceDoesNotStallAnybody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.stragglers = []SessionInfo{{ID: "s4", User: "bi", Place: Busy, Why: "idle in transaction", Age: time.Minute}}
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		s := p.awaitPhase(PhasePaused)
		if s.Stop.Cause != CauseStragglers || count(w.happened(), "hold") != 0 || count(w.happened(), "prepare") != 0 {
			t.Errorf("stop %+v; happened %v", s.Stop, w.happened())
		}
		w.with(func() { w.stragglers = nil })
		p.do(VerbPromote)
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("after promote: %s", s.Sentence)
		}
	})
}

func TestWindowRollbackSwapsBack(t *testing.T) {
	for name, taken := range map[string]bool{"deploy name free": false, "deploy name taken": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				p.start()
				p.awaitPhase(PhaseWindow)
				if taken {
					w.with(func() { w.names[KindSchema]["prod_deploy"] = "u3" })
				}
				s := p.do(VerbRollback)
				if s.Phase != PhaseSwappingBack {
					t.Fatalf("rollback in the window goes to %s", s.Phase)
				}
				_, err := p.c.Do(t.Context(), shopName, VerbRollback, Request{Who: "bob"})
				refusedWith(t, ExitUsage, err)
				s, _ = p.awaitOver()
				if s.Phase != PhaseRolledBack || s.Exit != ExitRolledBack {
					t.Fatalf("%s exit %d: %s", s.Phase, s.Exit, s.Sentence)
				}
				rejected := "prod_deploy"
				if taken {
					rejected = "prod_deploy_rejected_" + s.Rollout
				}
				if w.name(KindSchema, "prod") != oldSchema || w.name(KindCluster, "prod") != oldCluster ||
					w.name(KindSchema, rejected) != newSchema || w.name(KindCluster, "prod_deploy") != newCluster {
					t.Errorf("names after swapping back: %v", w.names)
				}
				if len(w.marks) != 0 || count(w.happened(), "commit") != 2 {
					t.Errorf("marks %v, %d COMMITs", w.marks, count(w.happened(), "commit"))
				}
				_, err = p.c.Do(t.Context(), shopName, VerbRollback, Request{Who: "bob"})
				refusedWith(t, ExitUsage, err)
			})
		})
	}
}

func TestShutdownUndoesTheAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.stragglers = []SessionInfo{{ID: "s1", Place: Busy, Why: "in a statement"}}
		p := boot(t, w, testPlan(), 0)
		p.start()
		p.await("held", func(Status) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.held
		})
		p.stop()
		if w.held || count(w.events, "rollback") != count(w.events, "hold") || count(w.events, "commit") != 0 {
			t.Errorf("held %v after stopping: %v", w.held, w.happened())
		}
		w.stragglers = nil
		p = boot(t, w, testPlan(), 0)
		defer p.stop()
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("after the restart: %s", s.Sentence)
		}
	})
}

func TestShutdownFinishesTheCommit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.waitsForCommit = make(chan struct{})
		p := boot(t, w, testPlan(), 0)
		p.start()
		p.await("live", func(Status) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.routing.Canary == router.CanaryLive
		})
		go func() {
			time.Sleep(time.Second)
			close(w.waitsForCommit)
		}()
		p.stop()
		var j Journal
		load(t, w, &j)
		if j.State.Phase != PhaseWindow || w.held {
			t.Errorf("journal says %s, held %v", j.State.Phase, w.held)
		}
	})
}

func load(t *testing.T, w *world, j *Journal) {
	t.Helper()
	got, err := fakeStore{w.restart(0)}.Load(context.Background(), shopName)
	if err != nil || got == nil {
		t.Fatalf("journal: %v, %v", got, err)
	}
	*j = *got
}

// A hold whose lease ran out protects nobody: no COMMIT is sent, the transaction
// is rolled back, the canary means the deploy names again, and it is tried anew.
func TestNoCommitWithoutAPinnedHold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.lapses = 1
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		s, _ := p.awaitOver()
		if s.Phase != PhaseDone || len(s.Swap.History) != 2 || s.Swap.Attempts != 2 {
			t.Fatalf("ended in %s after %+v", s.Phase, s.Swap)
		}
		first := s.Swap.History[0]
		if first.Outcome != string(EndNotGathered) || !strings.Contains(first.Error, "ran out before the COMMIT") {
			t.Errorf("the attempt is remembered as %+v", first)
		}
		got := w.happened()
		i := slices.Index(got, "gather")
		if want := []string{"gather", "route 25% live", "route 25% deploy", "release", "rollback"}; !slices.Equal(got[i:i+len(want)], want) {
			t.Errorf("happened %v, want %v", got[i:i+len(want)], want)
		}
		if n := count(got, "commit"); n != 1 {
			t.Errorf("%d COMMITs", n)
		}
	})
}

// TestRestartHoldsWhileALostCommitMayLand: the process died with its COMMIT out.
// Whoever is served by the next one would meet both versions in one transaction, so
// the gates are closed before anybody is, until the lost session has ended.
func TestRestartHoldsWhileALostCommitMayLand(t *testing.T) {
	for name, c := range map[string]struct {
		lingers int
		held    time.Duration
	}{"until the session has ended": {3, heldPoll + heldPoll*3/2 + heldPoll*9/4}, "at the longest until the bound": {1000, 5 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.waitsForCommit = make(chan struct{})
				p := boot(t, w, testPlan(), 0)
				p.start()
				p.await("the COMMIT is out", func(Status) bool {
					w.mu.Lock()
					defer w.mu.Unlock()
					return w.routing.Canary == router.CanaryLive
				})
				w.with(func() { p.l.dead = true; close(p.l.died) })
				close(w.waitsForCommit)
				p.stop()

				w.with(func() { w.lingers, w.waitsForCommit, w.events = c.lingers, nil, nil })
				began := time.Now()
				p = boot(t, w, testPlan(), 0)
				defer p.stop()
				p.c.Loaded(t.Context())
				w.with(func() {
					if !w.held {
						t.Error("sessions may be served before their gates are closed")
					}
				})
				look := time.NewTicker(heldPoll / 5)
				defer look.Stop()
				for held := true; held && time.Since(began) < time.Minute; w.with(func() { held = w.held }) {
					<-look.C
				}
				if took := time.Since(began); took < c.held || took > c.held+heldPoll {
					t.Errorf("the gates were closed for %s, want %s", took, c.held)
				}
				w.with(func() { w.lingers = min(w.lingers, 1) })
				s, _ := p.awaitOver()
				order := filter(w.events, "hold", "release", "barrier")
				if s.Phase != PhaseDone || len(order) < 3 || !slices.Equal(order[:3], []string{"hold", "release", "barrier"}) {
					t.Errorf("%s after %v", s.Phase, order)
				}
			})
		})
	}
}

package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mzcanary/router"
)

// killWithCommitOut ends the life while its COMMIT waits for an answer; applied says
// whether the server carried it out.
func (p *program) killWithCommitOut(applied bool) {
	p.t.Helper()
	w := p.w
	p.await("the COMMIT is out", func(Status) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.held && w.routing.Canary == router.CanaryLive
	})
	w.with(func() { p.l.dead = true; close(p.l.died) })
	close(w.waitsForCommit)
	p.stop()
	var j Journal
	load(p.t, w, &j)
	if j.State.Swap.Stage != StagePrepared {
		p.t.Fatalf("killed in stage %s", j.State.Swap.Stage)
	}
	w.with(func() {
		w.waitsForCommit, w.held = nil, false
		if !applied {
			return
		}
		names, err := w.moved(j.State.Swap.Statements)
		if err != nil {
			p.t.Fatal(err)
		}
		w.names = names
	})
}

// told keeps what an Observer hears of attempts.
type told struct {
	phases
	ended, resolved []AttemptRecord
}

func (o *told) AttemptEnded(_ string, a AttemptRecord)    { o.ended = append(o.ended, a) }
func (o *told) AttemptResolved(_ string, a AttemptRecord) { o.resolved = append(o.resolved, a) }

func outcomes(history []AttemptRecord) string {
	parts := make([]string, len(history))
	for i, a := range history {
		parts[i] = fmt.Sprintf("%d %s", a.Try, a.Outcome)
		if a.Back {
			parts[i] += " back"
		}
	}
	return strings.Join(parts, ", ")
}

// The attempt of a process that was killed has a record of its own; what the ids say
// of it does not rewrite the one before.
func TestAKilledAttemptHasItsOwnRecord(t *testing.T) {
	for name, c := range map[string]struct {
		applied bool
		want    string
	}{
		"done":     {true, "1 conflict, 2 done"},
		"not done": {false, "1 conflict, 2 not_done, 3 done"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.prepares = []error{fmt.Errorf("40001: %w", ErrConflict)}
				w.waitsForCommit = make(chan struct{})
				p := boot(t, w, testPlan(), 0)
				p.start()
				p.killWithCommitOut(c.applied)
				heard := &told{}
				p = boot(t, w, testPlan(), 0, func(o *Options) { o.Observer = heard })
				defer p.stop()
				s, _ := p.awaitOver()
				if s.Phase != PhaseDone || outcomes(s.Swap.History) != c.want {
					t.Fatalf("%s: %s", s.Phase, outcomes(s.Swap.History))
				}
				killed := s.Swap.History[1]
				if killed.Resolve <= 0 || !strings.Contains(killed.Error, "the program ended") {
					t.Errorf("the killed attempt: %+v", killed)
				}
				if c.applied != (s.Swap.Record.Try == 2) {
					t.Errorf("the attempt that did it: %+v", s.Swap.Record)
				}
				if outcomes(heard.resolved) != strings.Split(c.want, ", ")[1] || len(heard.ended) == 0 || heard.ended[0].Outcome != string(EndUnknown) {
					t.Errorf("the observer heard of ends %s, of resolutions %s", outcomes(heard.ended), outcomes(heard.resolved))
				}
			})
		})
	}
}

// A swap back that is killed leaves the record of the swap as it was.
func TestAKilledSwapBackLeavesTheSwapsRecord(t *testing.T) {
	for name, c := range map[string]struct {
		applied bool
		want    string
	}{
		"done":     {true, "1 done, 2 done back"},
		"not done": {false, "1 done, 2 not_done back, 3 done back"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				plan := testPlan()
				plan.Window.For = time.Hour
				p := boot(t, w, plan, 0)
				p.start()
				first := *p.awaitPhase(PhaseWindow).Swap.Record
				w.with(func() { w.waitsForCommit, w.routing = make(chan struct{}), Routing{} })
				p.do(VerbRollback)
				p.killWithCommitOut(c.applied)
				p = boot(t, w, plan, 0)
				defer p.stop()
				s, _ := p.awaitOver()
				if s.Phase != PhaseRolledBack || outcomes(s.Swap.History) != c.want {
					t.Fatalf("%s: %s", s.Phase, outcomes(s.Swap.History))
				}
				if got := s.Swap.History[0]; !slices.Equal([]any{got.At.UnixNano(), got.Gather, got.Commit, got.Stall.Max, got.Resolve}, []any{first.At.UnixNano(), first.Gather, first.Commit, first.Stall.Max, first.Resolve}) {
					t.Errorf("the swap is remembered as %+v, was %+v", got, first)
				}
			})
		})
	}
}

// What an Observer hears, and what stays on the record: values, not only presence.
func TestStallsOnTheRecord(t *testing.T) {
	bubble(t, func(t *testing.T) {
		conflict := fmt.Errorf("40001: %w", ErrConflict)
		w := newWorld(t)
		w.commits = []commitFault{{outcome: NotDone, err: conflict}, {outcome: Unknown, err: errDead}, {outcome: Unknown, err: errDead, applied: true}}
		w.lingers = 1
		heard := &told{}
		p := boot(t, w, testPlan(), 0, func(o *Options) { o.Observer = heard })
		defer p.stop()
		p.start()
		s, _ := p.awaitOver()
		if want := "1 conflict, 2 not_done, 3 done"; s.Phase != PhaseDone || outcomes(s.Swap.History) != want {
			t.Fatalf("%s: %s", s.Phase, outcomes(s.Swap.History))
		}
		if got, want := outcomes(heard.ended), "1 conflict, 2 unknown, 3 unknown"; got != want {
			t.Errorf("ends: %s, want %s", got, want)
		}
		if got, want := outcomes(heard.resolved), "2 not_done, 3 done"; got != want {
			t.Errorf("resolutions: %s, want %s", got, want)
		}
		for _, a := range slices.Concat(heard.ended, heard.resolved) {
			if len(a.Stall.Waits) != 3 {
				t.Errorf("attempt %d (%s) came with the waits %v", a.Try, a.Outcome, a.Stall.Waits)
			}
		}
		for _, a := range append(s.Swap.History, *s.Swap.Record) {
			if a.Stall.Waits != nil {
				t.Errorf("attempt %d keeps every wait", a.Try)
			}
			if lost := a.Try > 1; lost != (a.Resolve > 0) || (a.Try == 2) != (a.Closed >= heldPoll) {
				t.Errorf("attempt %d: closed %s, resolved in %s", a.Try, a.Closed, a.Resolve)
			}
		}
		r, err := p.c.History(t.Context(), shopName)
		if err != nil || len(r) != 1 {
			t.Fatal(r, err)
		}
		wasted := r[0].State.Swap.Wasted
		if wasted.Attempts != 2 || wasted.Sessions != 6 || wasted.Max != 3*time.Millisecond || wasted.P99 != 3*time.Millisecond ||
			wasted.P50 < 2*time.Millisecond || wasted.P50 > 2200*time.Microsecond {
			t.Errorf("wasted %+v; two attempts of 1, 2 and 3 ms", wasted)
		}
		if got := s.Swap.Wasted; got.Sessions != 6 || got.P50 != wasted.P50 || got.Max != wasted.Max {
			t.Errorf("the status says %+v", got)
		}
	})
}

func TestSpreadQuantiles(t *testing.T) {
	var w Wasted
	waits := make([]time.Duration, 1000)
	for i := range waits {
		waits[i] = time.Duration(i+1) * time.Millisecond
	}
	for part := range slices.Chunk(waits, 250) {
		w.add(Stall{Sessions: len(part), Max: part[len(part)-1], Waits: part})
	}
	if w.Sessions != 1000 || w.Max != time.Second || w.Attempts != 4 {
		t.Fatalf("%+v", w)
	}
	for got, want := range map[time.Duration]time.Duration{w.P50: 500 * time.Millisecond, w.P99: 990 * time.Millisecond} {
		if got < want || got > want*11/10+time.Millisecond {
			t.Errorf("quantile %s, want %s to a tenth", got, want)
		}
	}
	w = Wasted{}
	w.add(Stall{Sessions: 1, Max: 0, Waits: []time.Duration{0}})
	w.add(Stall{})
	if w.P50 != 0 || w.Max != 0 || w.Attempts != 2 {
		t.Errorf("%+v", w)
	}
}

// Who cannot be seen may be in the way: no attempt is made on a guess.
func TestNobodyIsHeldBlindly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		p.await("25%", func(s Status) bool { return s.Weight == 2500 })
		w.with(func() { w.surveyError = errors.New("a proxy does not answer") })
		s := p.awaitPhase(PhasePaused)
		if s.Stop.Cause != CauseStragglers || !strings.Contains(s.Stop.Reason, "a proxy does not answer") || w.longest != 0 {
			t.Errorf("stop %+v; gates were closed for %s", s.Stop, w.longest)
		}
		w.with(func() { w.surveyError = nil })
		p.do(VerbRetry)
		if s, _ := p.awaitOver(); s.Phase != PhaseDone || len(s.Swap.History) != 1 {
			t.Errorf("%s after %s", s.Phase, outcomes(s.Swap.History))
		}
	})
}

// attemptOn is one promotion, alone, on a world in the ramp.
func attemptOn(t *testing.T, w *world) *promotion {
	l := w.restart(0)
	w.routing.Canary = router.CanaryDeploy
	list, err := dialect{kind: KindMaterialize, database: "materialize"}.promote(plainPairs(testSpec(), true, "r1"), MethodSwap, "r1")
	if err != nil {
		t.Fatal(err)
	}
	return &promotion{w: fakeWarehouse{l}, t: fakeTraffic{l}, clock: time.Now, turn: make(chan struct{}, 1),
		order: SwapOrder{Statements: list, Plan: testPlan().Promote, Before: Routing{Canary: router.CanaryDeploy}, Commit: Routing{Canary: router.CanaryLive}, After: Routing{Swaps: 1}},
		quiet: func(context.Context) {}, prepared: func(context.Context, Backend) error { return nil }}
}

func TestABlindLookBeforeTheGatesEndsTheAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := attemptOn(t, w)
		w.surveyError = errors.New("a proxy does not answer")
		if ended := p.run(t.Context()); ended.End != EndBusy || ended.Err == nil || len(w.happened()) != 0 {
			t.Errorf("%s (%v) after %v", ended.End, ended.Err, w.happened())
		}
	})
}

// Whatever hangs while sessions wait, they wait for max_stall at the longest.
func TestMaxStallBoundsOurOwnCalls(t *testing.T) {
	conflict := fmt.Errorf("40001: %w", ErrConflict)
	straggler := []SessionInfo{{ID: "s3", Place: Busy, Age: 10 * time.Millisecond}}
	for name, c := range map[string]struct {
		blocks string
		world  func(*world)
		end    Ended
	}{
		"closing the gates":            {blocks: "hold", end: EndUnavailable},
		"routing before the COMMIT":    {blocks: "route live", end: EndUnavailable},
		"routing after the COMMIT":     {blocks: "route closed", end: EndDone},
		"routing when it was not done": {"route deploy", func(w *world) { w.commits = []commitFault{{outcome: NotDone, err: conflict}} }, EndConflict},
		"ending stragglers":            {"end", func(w *world) { w.stragglers = straggler }, EndNotGathered},
		"a silent COMMIT": {"", func(w *world) {
			w.commits, w.lingers = []commitFault{{outcome: Unknown, silent: true}}, 1000
		}, EndUnknown},
		"a ROLLBACK after a conflict": {"", func(w *world) {
			w.commits, w.rollback = []commitFault{{outcome: NotDone, err: conflict}}, time.Minute
		}, EndConflict},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				if c.world != nil {
					c.world(w)
				}
				p := attemptOn(t, w)
				w.blocks = map[string]bool{c.blocks: true}
				p.order.Terminate = true
				p.order.Plan.MaxStall = 3 * time.Second
				ended := p.run(t.Context())
				if ended.End != c.end || w.held || w.longest > 3*time.Second || c.blocks == "" && c.end == EndConflict && w.longest > time.Millisecond {
					t.Errorf("ended %s (%v), gates closed for %s, still %t", ended.End, ended.Err, w.longest, w.held)
				}
			})
		})
	}
}

// The gates are closed after a restart although the journal cannot be written: a
// COMMIT that lands does not ask for our disk.
func TestRestartHoldsWithoutADisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.waitsForCommit = make(chan struct{})
		p := boot(t, w, testPlan(), 0)
		p.start()
		p.killWithCommitOut(true)
		w.with(func() { w.lingers, w.saveError = 1000, errors.New("read-only file system") })
		p = boot(t, w, testPlan(), 0)
		defer p.stop()
		p.c.Loaded(t.Context())
		w.with(func() {
			if !w.held {
				t.Error("sessions may be served before their gates are closed")
			}
		})
		time.Sleep(10 * time.Second)
		w.with(func() {
			if looks := count(w.events, "backend gone"); w.held || w.longest > 5*time.Second || looks > 25 {
				t.Errorf("held %t, for %s; the server was asked %d times in five seconds", w.held, w.longest, looks)
			}
			w.lingers, w.saveError = 0, nil
		})
		if s, _ := p.awaitOver(); s.Phase != PhaseDone || outcomes(s.Swap.History) != "1 done" || s.Swap.Record.Stall.Sessions != 3 {
			t.Errorf("%s: %s, %+v", s.Phase, outcomes(s.Swap.History), s.Swap.Record)
		}
	})
}

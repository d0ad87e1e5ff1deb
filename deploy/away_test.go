package deploy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// An absence is a way in which the server goes away and comes back.
type absence struct {
	name string
	goes func(*world)
	back func(*world)
	// around, when set, stands between the program and the server while it is away.
	around func(ctx context.Context, call func() error) error
	// quiet: no call ever fails, so that a phase which does not look at the server's
	// identity has nothing to wait for.
	quiet bool
	says  string // in the stop's reason or the sentence
	next  string // in the stop's advice
}

func absences() []absence {
	upgrade := func(w *world) { w.server.Version, w.server.Started = "v26.5", time.Unix(9000, 0) }
	none := func(*world) {}
	return []absence{
		{name: "restart", goes: func(w *world) { w.server.Started = time.Unix(9000, 0); w.down = true }, back: func(w *world) { w.down = false }, says: "connection refused"},
		{name: "upgrade", goes: func(w *world) { upgrade(w); w.down = true }, back: func(w *world) { w.down = false }, says: "connection refused"},
		{name: "upgrade without a gap", goes: upgrade, back: none, quiet: true, says: "v26.5"},
		{name: "read-only generation", goes: func(w *world) { upgrade(w); w.server.ReadOnly = true }, back: func(w *world) { w.server.ReadOnly = false }, quiet: true, says: "v26.5"},
		{name: "cut", goes: none, back: none, says: "cut", around: func(context.Context, func() error) error { return errCut }},
		{name: "hanging", goes: none, back: none, says: "silent", around: func(ctx context.Context, _ func() error) error {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second) // as the adapter bounds its reads
			defer cancel()
			<-ctx.Done()
			return fmt.Errorf("silent: %w", ErrUnavailable)
		}},
		{name: "password rotated", goes: none, back: none, says: "invalid password", next: "correct the file; it resumes by itself", around: func(context.Context, func() error) error {
			return &Mendable{Err: fmt.Errorf("invalid password (SQLSTATE 28P01): %w", ErrUnavailable), Mend: "correct the file"}
		}},
	}
}

// TestServerGoesAwayInEveryPhase: whatever happens to the server, the rollout says
// so, raises no weight, believes nothing of what was counted meanwhile, and goes on
// by itself to the end it would have had.
func TestServerGoesAwayInEveryPhase(t *testing.T) {
	for _, a := range absences() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, pl place) {
				w := newWorld(t)
				away := false
				p := pl.boot(t, w, unreliable(func(ctx context.Context, _ string, call func() error) error {
					var now bool
					w.with(func() { now = away })
					if now && a.around != nil {
						return a.around(ctx, call)
					}
					return call()
				}))
				defer p.stop()
				time.Sleep(10 * time.Second)
				before := p.now()
				w.with(func() {
					away = true
					if !a.quiet {
						w.bad = sick // what fails meanwhile falls on the canary alone
					}
					a.goes(w)
					if w.waitsForPreflight != nil { // what was under way has its answer, or none
						w.letPreflight()
					}
				})
				time.Sleep(75 * time.Second)
				a.whileAway(t, pl, before, p.now())
				w.with(func() {
					away, w.bad = false, nil
					a.back(w)
				})
				time.Sleep(time.Minute)
				if s := p.now(); s.Stop != nil && s.Stop.Cause == CauseUpstream || !s.Down.IsZero() || strings.Contains(s.Sentence, "prove itself") {
					t.Errorf("a minute after it came back: %s", show(s))
				}
				pl.leave(p)
			})
		})
	}
}

// whileAway checks what is shown and done in the absence.
func (a absence) whileAway(t *testing.T, pl place, before, s Status) {
	t.Helper()
	early := pl.phase == PhasePreflight || pl.phase == PhaseHydrating
	if !(pl.phase == PhasePreflight && a.quiet) && (s.Weight > before.Weight || !pl.in(s)) {
		t.Fatalf("while it was away: %s, before %s", show(s), show(before))
	}
	switch {
	case pl.phase == PhaseRollingBack: // needs nothing of the server, and goes on
		if s.Stop != nil || !a.quiet && !strings.Contains(s.Sentence, a.says) {
			t.Errorf("while it was away: %s", show(s))
		}
		return
	case a.quiet && (early || a.name == "upgrade without a gap"): // it has proven itself since
		return
	case s.Stop == nil || s.Phase != PhasePaused || s.Stop.Cause != CauseUpstream || !s.Stop.Auto || s.Stop.Exit != ExitConnect:
		t.Fatalf("while it was away: %s", show(s))
	}
	if !strings.Contains(s.Stop.Reason, a.says) || !strings.Contains(s.Stop.Next, a.next) {
		t.Errorf("the reason is %q and the advice %q, want %q and %q in them", s.Stop.Reason, s.Stop.Next, a.says, a.next)
	}
}

// A control connection that hangs is noticed by what it does not say, not when it
// gives up: the plan stands still long before.
func TestHangingConnectionRaisesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		hangs := make(chan struct{})
		plan := testPlan()
		plan.Steps[0].Bake = 15 * time.Second
		p := boot(t, w, plan, 0, unreliable(func(ctx context.Context, _ string, call func() error) error {
			select {
			case <-hangs:
				ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
				defer cancel()
				<-ctx.Done()
				return fmt.Errorf("silent: %w", ErrUnavailable)
			default:
				return call()
			}
		}))
		defer p.stop()
		p.start()
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		time.Sleep(2 * time.Second)
		close(hangs)
		began := time.Now()
		s, _ := p.await("stopped", func(s Status) bool { return s.Weight != 500 || s.Stop != nil })
		if took := time.Since(began); s.Stop == nil || s.Stop.Cause != CauseUpstream || took > 35*time.Second {
			t.Errorf("after %s: %s", took, show(s))
		}
	})
}

// Between a restart and its discovery the errors of the dying server may fall on the
// canary alone.
func TestRegressOfADyingServerIsNotBelieved(t *testing.T) {
	for name, down := range map[string]bool{"while it is away": true, "when it is back": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				plan := testPlan()
				plan.Steps[0].Bake, plan.Ready.Poll = time.Hour, 5*time.Second
				p := boot(t, w, plan, 0)
				defer p.stop()
				p.start()
				p.await("5%", func(s Status) bool { return s.Weight == 500 })
				time.Sleep(20*time.Second + 100*time.Millisecond) // between two looks
				w.with(func() {
					w.server.Started = time.Unix(9000, 0)
					w.down, w.bad = down, sick
				})
				s, _ := p.await("stopped", func(s Status) bool { return s.Stop != nil || s.Phase != PhaseRamping })
				if s.Stop == nil || s.Stop.Cause != CauseUpstream || s.Weight != 500 {
					t.Fatalf("%s", show(s))
				}
				w.with(func() { w.down, w.bad = false, nil })
				p.await("going on", func(s Status) bool { return s.Stop == nil && s.Phase == PhaseRamping })
				w.with(func() { w.bad = sick }) // this time it is the canary
				if s, _ := p.awaitOver(); s.Exit != ExitRegress {
					t.Errorf("%s", s.End)
				}
			})
		})
	}
}

// Pausing by hand in the upstream pause is no way around it.
func TestPauseInFrontOfAnUpstreamPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		plan := testPlan()
		plan.Steps[0].Bake, plan.Ready.Poll, plan.Ready.Consecutive = time.Hour, 5*time.Second, 5
		p := boot(t, w, plan, 0)
		defer p.stop()
		p.start()
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		w.with(func() { w.server.Started = time.Unix(9000, 0) })
		p.await("the restart", stopped(CauseUpstream))
		for _, force := range []bool{false, true} {
			_, err := p.c.SetWeight(t.Context(), shopName, 9000, Request{Who: "bob", Force: force, Reason: "now"})
			refusedWith(t, ExitConnect, err)
		}
		w.with(func() { w.bad = sick })
		p.do(VerbPause)
		time.Sleep(2 * time.Second)
		if s := p.now(); s.Stop == nil || s.Stop.Cause != CauseHand || !strings.Contains(s.Sentence, "still has to prove itself") {
			t.Errorf("paused: %s", show(s))
		}
		p.do(VerbResume)
		if s := p.now(); s.Stop == nil || s.Stop.Cause != CauseUpstream {
			t.Errorf("resumed: %s", show(s))
		}
		w.with(func() { w.bad = nil })
		p.await("going on", func(s Status) bool { return s.Stop == nil })
	})
}

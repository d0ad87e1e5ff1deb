package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// denied is a control role that may do nothing any more.
var errDenied = &Mendable{Err: errors.New("permission denied (SQLSTATE 42501)"), Mend: "GRANT it"}

// TestRoleLosesItsRightsInEveryPhase: nothing advances on what nobody was allowed to
// see, a person is told which right is missing, and once it is given everything goes
// on by itself.
func TestRoleLosesItsRightsInEveryPhase(t *testing.T) {
	everywhere(t, func(t *testing.T, pl place) {
		w := newWorld(t)
		lost := false
		p := pl.boot(t, w, unreliable(func(_ context.Context, _ string, call func() error) error {
			var now bool
			w.with(func() { now = lost })
			if now {
				return errDenied
			}
			return call()
		}))
		defer p.stop()
		time.Sleep(5 * time.Second)
		before := p.now()
		w.with(func() { lost = true })
		if pl.phase == PhasePreflight { // three times no is the end of it: nothing was touched yet
			w.with(w.letPreflight)
			s, _ := p.awaitOver()
			if s.Phase != PhaseRefused || s.Exit != ExitRefused || !strings.Contains(s.End, "permission denied") {
				t.Errorf("%s", show(s))
			}
			return
		}
		time.Sleep(2 * time.Minute)
		s := p.now()
		if s.Stop == nil || s.Phase != PhaseBlocked || s.Stop.Cause != CauseError || s.Stop.Exit != ExitHuman || s.Weight != before.Weight ||
			!strings.Contains(s.Stop.Reason, "permission denied") || !strings.Contains(s.Stop.Next, "GRANT it") {
			t.Errorf("two minutes without rights: %s", show(s))
		}
		if at := time.Minute; s.After != nil && before.After != nil && (s.After.Observed > before.After.Observed+at || s.After.Drained > before.After.Drained+at) {
			t.Errorf("it counted what it did not see: %+v, before %+v", s.After, before.After)
		}
		w.with(func() { lost = false })
		time.Sleep(time.Minute)
		if s := p.now(); s.Stop != nil && s.Stop.Cause == CauseError || !pl.in(s) {
			t.Errorf("a minute after they were given back: %s", show(s))
		}
		pl.leave(p)
	})
}

// The right to list who uses the old version is lost on the way to dropping it.
func TestCensusRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0, unreliable(only("subscriptions")))
		defer p.stop()
		p.start()
		s, _ := p.await("told", stopped(CauseError))
		if s.Under != PhaseWindow && s.Under != PhaseDraining || !strings.Contains(s.Stop.Reason, "to list who uses the old version") {
			t.Errorf("%s", show(s))
		}
		if s, code := p.c.Wait(t.Context(), shopName, s.Rollout, UntilDone); code != ExitHuman {
			t.Errorf("waiting for it ends with %d: %s", code, show(s))
		}
	})
}

// only refuses one kind of question.
func only(what string) func(context.Context, string, func() error) error {
	return func(_ context.Context, asked string, call func() error) error {
		if asked == what {
			return errDenied
		}
		return call()
	}
}

// What became of a COMMIT cannot be read any more: a person is told, and may give up.
func TestResolvingRefused(t *testing.T) {
	for _, what := range []string{"barrier", "backend gone"} {
		for name, restart := range map[string]bool{"": false, ", after a restart": true} {
			t.Run(what+name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t)
					w.commits = []commitFault{{outcome: Unknown, err: errDead, applied: true}}
					p := boot(t, w, testPlan(), 0, unreliable(only(what)))
					p.start()
					resolving := func(s Status) bool { return s.Swap != nil && s.Swap.Stage == StageResolving }
					p.await("resolving", resolving)
					if restart {
						p.stop()
						p = boot(t, w, testPlan(), 0, unreliable(only(what)))
					}
					defer p.stop()
					s, _ := p.await("told", stopped(CauseError))
					if !resolving(s) || s.Canary != "live" && s.Weight != 0 || !strings.Contains(s.Stop.Next, "abort --force") {
						t.Errorf("%s", show(s))
					}
					time.Sleep(time.Hour)
					if s := p.now(); !stopped(CauseError)(s) || len(s.Events) > 30 {
						t.Errorf("an hour later, with %d events: %s", len(s.Events), show(s))
					}
					_, err := p.c.Do(t.Context(), shopName, VerbAbort, Request{Who: "ann"})
					refusedWith(t, ExitHuman, err)
					_, err = p.abortAndDrop()
					refusedWith(t, ExitHuman, err)
					p.do(VerbAbort)
					if s, _ := p.awaitOver(); s.Phase != PhaseAborted || s.Exit != ExitHuman || s.Canary != "closed" || w.name(KindSchema, "prod") != newSchema {
						t.Errorf("%s; names %v", show(s), w.names)
					}
				})
			})
		}
	}
}

// An outage at the end of a rollout is waited for; a refusal there leaves behind what
// it must, and says so.
func TestPuttingAway(t *testing.T) {
	for name, c := range map[string]struct {
		trouble func(w *world) error
		left    bool
	}{
		"away":    {func(w *world) error { return fmt.Errorf("connection refused: %w", ErrUnavailable) }, false},
		"refused": {func(w *world) error { return errDenied }, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				lacksRights(w)
				w.ready = func() Readiness { return Readiness{Why: "hydrating"} }
				trouble := false
				p := boot(t, w, testPlan(), 0, unreliable(func(_ context.Context, _ string, call func() error) error {
					var now bool
					w.with(func() { now = trouble })
					if now {
						return c.trouble(w)
					}
					return call()
				}))
				defer p.stop()
				p.startFixing()
				p.awaitPhase(PhaseHydrating)
				w.with(func() { trouble = true })
				p.do(VerbRollback)
				time.Sleep(time.Hour)
				if s := p.now(); !c.left && !s.Marked {
					t.Errorf("given up: %s", show(s))
				}
				w.with(func() { trouble = false })
				s, _ := p.awaitOver()
				if left := len(w.marks) > 0 && len(w.given) > 0; left != c.left || strings.Contains(s.End, "left behind: marks on schema prod") != c.left || strings.Contains(s.End, "left behind: rights") != c.left {
					t.Errorf("%s; marks %v, rights %v", s.End, w.marks, w.given)
				}
				for _, e := range s.Events {
					if c.left && (e.What == "marks removed" || e.What == "rights taken back") {
						t.Errorf("it says %q", e.What)
					}
				}
			})
		})
	}
}

package deploy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Nothing is dropped before the time to settle has passed after a restart, whatever
// the restart had to find out first.
func TestSettleAfterEveryRestart(t *testing.T) {
	const settle = time.Hour
	plan := testPlan()
	plan.Window.For, plan.Drain.For, plan.Drain.Settle = time.Second, time.Second, settle
	kill := func(t *testing.T, p *program) {
		p.w.with(func() { p.l.dead = true; close(p.l.died) })
		p.stop()
	}
	for name, crash := range map[string]func(t *testing.T, w *world, p *program){
		"in hydrating": func(t *testing.T, w *world, p *program) { p.awaitPhase(PhaseHydrating); kill(t, p) },
		"in the ramp":  func(t *testing.T, w *world, p *program) { p.awaitPhase(PhaseRamping); kill(t, p) },
		"the COMMIT out, done": func(t *testing.T, w *world, p *program) {
			p.killWithCommitOut(true)
		},
		"the COMMIT out, not done": func(t *testing.T, w *world, p *program) {
			p.killWithCommitOut(false)
		},
		"in the window": func(t *testing.T, w *world, p *program) { p.awaitPhase(PhaseWindow); kill(t, p) },
		"the server, in the ramp": func(t *testing.T, w *world, p *program) {
			p.awaitPhase(PhaseRamping)
			w.with(func() { w.server.Started = w.server.Started.Add(time.Hour) })
			p.await("seen", stopped(CauseUpstream))
			p.stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				if strings.Contains(name, "COMMIT") {
					w.waitsForCommit = make(chan struct{})
				}
				p := boot(t, w, plan, 0)
				p.start()
				crash(t, w, p)
				began := time.Now()
				p = boot(t, w, plan, 0)
				defer p.stop()
				p.await("a drop", func(Status) bool {
					w.mu.Lock()
					defer w.mu.Unlock()
					return slices.ContainsFunc(w.events, func(e string) bool { return strings.HasPrefix(e, "drop") })
				})
				if took := time.Since(began); took < settle {
					t.Errorf("dropped %s after the restart", took)
				}
				if s, _ := p.awaitOver(); s.Phase != PhaseDone {
					t.Error(s.Sentence)
				}
			})
		})
	}
}

// A server that restarted in the ramp is given its time too, when the swap follows.
func TestSettleOutlivesTheSwap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const settle = time.Hour
		plan := testPlan()
		plan.Window.For, plan.Drain.For, plan.Drain.Settle = time.Second, time.Second, settle
		w := newWorld(t)
		p := boot(t, w, plan, 0)
		defer p.stop()
		p.start()
		p.awaitPhase(PhaseRamping)
		w.with(func() { w.server.Started = w.server.Started.Add(time.Hour) })
		p.await("seen", stopped(CauseUpstream))
		began := time.Now()
		if s, _ := p.awaitOver(); s.Phase != PhaseDone || time.Since(began) < settle {
			t.Errorf("%s %s after the server's restart", s.Phase, time.Since(began))
		}
	})
}

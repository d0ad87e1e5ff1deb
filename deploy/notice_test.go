package deploy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Sessions on the old version are told once per rollout, whoever ends the window, and
// not again by the next process.
func TestDrainNotice(t *testing.T) {
	for name, then := range map[string]string{
		ThenTerminate: "it is ended with 57P01 in 5m0s unless what it runs has ended by then",
		ThenWait:      "which is dropped as soon as nobody reads it",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				plan := testPlan()
				plan.Window.For, plan.Drain.For, plan.Drain.Then = time.Hour, 5*time.Minute, name
				old := []SessionInfo{{ID: "s7", Place: Streaming, OldVersion: true}, {ID: "s8", Place: Busy, OldVersion: true}}
				p := boot(t, w, plan, 0)
				p.start()
				p.await("confirmed", func(s Status) bool { return s.Phase == PhaseWindow && s.After.Standby != nil })
				w.with(func() { w.old = old })
				if n := len(w.notices); n != 0 {
					t.Errorf("%d notices in the window", n)
				}
				p.do(VerbCleanup)
				s, _ := p.await("told", func(s Status) bool { return s.After.Notified == 2 })
				if len(w.notices) != 1 || !strings.Contains(w.notices[0], then) {
					t.Errorf("notices %q", w.notices)
				}
				if !slices.ContainsFunc(s.Events, func(e Entry) bool { return strings.Contains(e.What, "told 2 sessions by NOTICE") }) {
					t.Errorf("nothing of it in the record: %+v", s.Events)
				}
				p.stop()

				p = boot(t, w, plan, 0)
				defer p.stop()
				<-p.c.Recovered()
				w.with(func() { w.old = old })
				s, _ = p.await("census", func(s Status) bool { return s.Phase == PhaseDraining && len(s.After.Old) == 2 })
				time.Sleep(time.Minute)
				if len(w.notices) != 1 || s.After.Notified != 2 {
					t.Errorf("after a restart %d notices, %d told", len(w.notices), s.After.Notified)
				}
			})
		})
	}
}

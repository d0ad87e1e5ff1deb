package deploy

import (
	"sync/atomic"
	"testing"
	"time"
)

// jumpy is a wall clock that can be set.
func jumpy() (clock func(*Options), set func(time.Duration)) {
	var by atomic.Int64
	return func(o *Options) { o.Clock = func() time.Time { return time.Now().Add(time.Duration(by.Load())) } },
		func(d time.Duration) { by.Add(int64(d)) }
}

// TestClockJumpsInEveryPhase: nothing expires because a clock was set, nothing waits
// for ever because it was set back, and the server is looked at as before.
func TestClockJumpsInEveryPhase(t *testing.T) {
	for name, by := range map[string]time.Duration{"ahead": 48 * time.Hour, "back": -48 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, pl place) {
				clock, set := jumpy()
				w := newWorld(t)
				p := pl.boot(t, w, clock)
				defer p.stop()
				time.Sleep(5 * time.Second)
				before := p.now()
				set(by)
				time.Sleep(30 * time.Second)
				s := p.now()
				if s.Phase != before.Phase || s.Under != before.Under || s.Weight != before.Weight || s.Overdue || (s.Stop == nil) != (before.Stop == nil) {
					t.Errorf("before %s\nafter %s", show(before), show(s))
				}
				if s.Asked != nil && s.Asked.Deadline.Sub(before.Asked.Deadline.Add(by)).Abs() > time.Second {
					t.Errorf("the deadline was %s and is %s after a jump by %s", before.Asked.Deadline, s.Asked.Deadline, by)
				}
				// The server goes away and comes back as if nothing had happened to the clock.
				if pl.phase != PhasePreflight && pl.phase != PhaseRollingBack {
					w.with(func() { w.down = true })
					time.Sleep(5 * time.Second)
					set(by)
					time.Sleep(time.Second)
					if s := p.now(); stopped(CauseUpstream)(s) {
						t.Errorf("paused 6s after the server went away: %s", show(s))
					}
					time.Sleep(20 * time.Second)
					if s := p.now(); !stopped(CauseUpstream)(s) {
						t.Errorf("not paused 26s after the server went away: %s", show(s))
					}
					w.with(func() { w.down = false })
					time.Sleep(time.Minute)
				}
				pl.leave(p)
			})
		})
	}
}

// Nobody approves: the hour they have is one that was observed, whatever the clock says.
func TestApprovalExpiresInObservedTime(t *testing.T) {
	for name, by := range map[string]time.Duration{"as it goes": 0, "ahead": 48 * time.Hour, "back": -48 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				clock, set := jumpy()
				plan := testPlan()
				plan.Steps[0].Approve = &Approve{Within: time.Hour}
				p := boot(t, newWorld(t), plan, 0, clock)
				defer p.stop()
				p.start()
				p.await("asked", func(s Status) bool { return s.Asked != nil })
				began := time.Now()
				time.Sleep(10 * time.Minute)
				set(by)
				p.await("expired", stopped(CauseApproval))
				if took := time.Since(began); took < time.Hour || took > time.Hour+time.Minute {
					t.Errorf("expired after %s", took)
				}
			})
		})
	}
}

package app_test

import (
	"context"
	"regexp"
	"sync"
	"testing"
	"time"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/sim"
)

// swaps is a program whose rollouts are promoted at once and stay in their window.
func swaps(t *testing.T, addr string) *program {
	t.Helper()
	p := start(t, configure(t, addr, "deployments.0.rollout.plan.steps=[{promote: {}}]", "deployments.0.window.for=1h"))
	p.controlled()
	return p
}

// thereAndBack promotes, swaps back, and returns both records.
func (p *program) thereAndBack() (there, back deploy.AttemptRecord) {
	p.t.Helper()
	if _, err := p.client.Start(within(p.t), "shop", admin.StartRequest{Who: "test"}); err != nil {
		p.t.Fatal(err)
	}
	s := p.await("in the window", func(s admin.Status) bool { return s.Phase == deploy.PhaseWindow })
	there = *s.Swap.Record
	if _, err := p.client.Do(within(p.t), "shop", deploy.VerbRollback, admin.Request{Who: "test"}); err != nil {
		p.t.Fatal(err)
	}
	s = p.await("over", func(s admin.Status) bool { return s.Phase == deploy.PhaseRolledBack && !s.Marked })
	return there, *s.Swap.Record
}

// TestStallIsExchangesPlusCommitPlusLittle: on a quiet server a session waits for the
// exchanges that were running, the COMMIT, and at most 50 ms of ours. The machine may
// be busy with other things in any one promotion, so the best of several counts.
func TestStallIsExchangesPlusCommitPlusLittle(t *testing.T) {
	const ours, promotions = 50 * time.Millisecond, 4
	for name, exchange := range map[string]time.Duration{"short exchanges": 0, "an exchange of 150 ms": 150 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			server, addr := onSim(t)
			server.Faults().Delay(regexp.MustCompile("slow"), exchange)
			p := swaps(t, addr)
			askers(t, p.Proxy, crowd)
			slowly(t, p.Proxy)
			best, at := time.Hour, deploy.AttemptRecord{}
			for range promotions {
				there, back := p.thereAndBack()
				for _, r := range []deploy.AttemptRecord{there, back} {
					if r.Stall.Sessions == 0 {
						continue // nobody had anything to say in these milliseconds
					}
					if r.Stall.Max < r.Stall.P99 || r.Stall.P99 < r.Stall.P50 || r.Commit <= 0 {
						t.Errorf("record %+v", r)
					}
					if left := r.Stall.Max - r.Gather - r.Commit; left < best {
						best, at = left, r
					}
				}
			}
			t.Logf("best of %d: stall %s of %d sessions, gather %s, COMMIT %s, so %s of ours", 2*promotions, at.Stall.Max, at.Stall.Sessions, at.Gather, at.Commit, best)
			if at.Stall.Sessions == 0 || best > ours {
				t.Errorf("in the best of %d promotions a session waited %s longer than for exchanges (%s) and COMMIT (%s)", 2*promotions, best, at.Gather, at.Commit)
			}
			if limit := exchange + ours; at.Gather > limit {
				t.Errorf("the gates waited %s for exchanges of %s", at.Gather, exchange)
			}
		})
	}
}

// slowly is one session whose statements take long, one after the other.
func slowly(t *testing.T, addr string) {
	t.Helper()
	conn := connect(t, dsn(addr, onProd))
	ctx, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT version AS slow FROM answer WHERE k = 1"); err != nil {
				t.Errorf("the slow session: %v", err)
				return
			}
		}
	})
	t.Cleanup(func() { end(); wg.Wait() })
}

// TestStallMetrics: every way an attempt ends is counted with the right values, those
// corrected that were unknown at first.
func TestStallMetrics(t *testing.T) {
	for name, c := range map[string]struct {
		fault    func(*sim.Faults)
		want     map[string]int // by outcome of the attempt
		resolved map[string]float64
		wasted   bool
	}{
		"done":                {func(*sim.Faults) {}, map[string]int{"done": 1}, nil, false},
		"a conflict at first": {func(f *sim.Faults) { f.FailDDLCommits(1) }, map[string]int{"done": 1, "conflict": 1}, nil, true},
		"the answer is lost": {func(f *sim.Faults) { f.CutAtCommit(1, sim.CutAfterApply) }, map[string]int{"unknown": 1},
			map[string]float64{"done": 1}, false},
		"the COMMIT is lost": {func(f *sim.Faults) { f.CutAtCommit(1, sim.CutBeforeApply) }, map[string]int{"unknown": 1, "done": 1},
			map[string]float64{"not_done": 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			server, addr := onSim(t)
			c.fault(server.Faults())
			p := swaps(t, addr)
			askers(t, p.Proxy, crowd)
			if _, err := p.client.Start(within(t), "shop", admin.StartRequest{Who: "test"}); err != nil {
				t.Fatal(err)
			}
			s := p.await("in the window", func(s admin.Status) bool {
				return s.Phase == deploy.PhaseWindow && s.Swap != nil && s.Swap.Record != nil
			})
			m := scrape(t, p)
			total := 0
			for outcome, n := range c.want {
				m.want(t, "mzcanary_promote_attempts_total", float64(n), "outcome="+outcome)
				total += n
			}
			for _, outcome := range []string{"done", "not_done"} {
				m.want(t, "mzcanary_promote_resolved_total", c.resolved[outcome], "outcome="+outcome)
			}
			m.want(t, "mzcanary_promote_resolve_seconds_count", c.resolved["done"]+c.resolved["not_done"])
			for _, part := range []string{"gather", "commit", "closed"} {
				m.want(t, "mzcanary_promote_"+part+"_seconds_count", float64(total))
			}
			m.stalls(t, "false", s.Swap.Record.Stall)
			m.stalls(t, "true", s.Swap.Wasted)
			if !c.wasted && s.Swap.Wasted.Sessions > 0 {
				t.Errorf("wasted %+v", s.Swap.Wasted)
			}
			if r := s.Swap.Record; (c.resolved["done"] > 0) != (r.Resolve > 0) || r.Closed < r.Gather+r.Commit {
				t.Errorf("record %+v", r)
			}
		})
	}
}

// stalls compares the histogram of single waits with a sum of them.
func (m *metrics) stalls(t *testing.T, wasted string, s deploy.Stall) {
	t.Helper()
	m.want(t, "mzcanary_promote_stall_seconds_count", float64(s.Sessions), "wasted="+wasted)
	sum, _ := m.sum("mzcanary_promote_stall_seconds_sum", "wasted="+wasted)
	if s.Sessions > 0 && (sum < s.Max.Seconds() || sum > s.Max.Seconds()*float64(s.Sessions)) {
		t.Errorf("wasted=%s: %d waits of at most %s sum up to %gs", wasted, s.Sessions, s.Max, sum)
	}
}

package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mzcanary/proxy"
)

// busyCrowd is many sessions that never rest by themselves.
type busyCrowd struct {
	clients sync.WaitGroup
	stop    chan struct{}
	running atomic.Int64 // have had their first answer
	slowest atomic.Int64 // exchange, as its client saw it, since the last look, in ns
	bad     chan error
}

// longest is the longest exchange of a busy crowd: what a hold has to wait for.
const longest = 200 * time.Millisecond

const pipelined = 4 // exchanges that a pipeliner keeps in flight, 50 ms each

// makeBusy keeps n sessions busy: most with one exchange after the other, of 50
// to 200 ms, every fifth a pipeliner that never owes nothing.
func makeBusy(r *rig, all []*lean) *busyCrowd {
	b := &busyCrowd{stop: make(chan struct{}), bad: make(chan error, len(all))}
	for i, c := range all {
		b.clients.Go(func() {
			var err error
			if i%5 == 4 {
				err = b.pipeliner(c)
			} else {
				err = b.asker(c, 50*time.Millisecond+time.Duration(i*37%151)*time.Millisecond)
			}
			if err != nil {
				b.bad <- fmt.Errorf("client %d: %w", i, err)
			}
			c.quit()
		})
	}
	deadline := time.Now().Add(pressureGuard)
	for b.running.Load() < int64(len(all)) {
		if time.Now().After(deadline) || len(b.bad) > 0 {
			r.t.Fatalf("%d of %d sessions are busy", b.running.Load(), len(all))
		}
		time.Sleep(time.Millisecond)
	}
	return b
}

func (b *busyCrowd) over() bool {
	select {
	case <-b.stop:
		return true
	default:
		return false
	}
}

// took notes how long an exchange took; on a busy machine that is longer than
// what the server was asked for.
func (b *busyCrowd) took(d time.Duration) {
	for was := b.slowest.Load(); int64(d) > was && !b.slowest.CompareAndSwap(was, int64(d)); was = b.slowest.Load() {
	}
}

func (b *busyCrowd) asker(c *lean, d time.Duration) error {
	for n := 0; !b.over(); n++ {
		begin := time.Now()
		if err := c.ask("PAUSE " + d.String()); err != nil {
			return err
		}
		b.took(time.Since(begin))
		if n == 0 {
			b.running.Add(1)
		}
	}
	return nil
}

func (b *busyCrowd) pipeliner(c *lean) error {
	q := queryMessage("PAUSE 50ms")
	var sent [pipelined]time.Time
	for i := range pipelined {
		sent[i] = time.Now()
		if err := c.send(q); err != nil {
			return err
		}
	}
	for n := 0; !b.over(); n++ {
		if _, err := c.await(); err != nil {
			return err
		}
		b.took(time.Since(sent[n%pipelined]))
		sent[n%pipelined] = time.Now()
		if err := c.send(q); err != nil {
			return err
		}
		if n == 0 {
			b.running.Add(1)
		}
	}
	for range pipelined {
		if _, err := c.await(); err != nil {
			return err
		}
	}
	return nil
}

// end lets the clients finish, and tells whose session was disturbed.
func (b *busyCrowd) end(r *rig) {
	r.t.Helper()
	close(b.stop)
	b.clients.Wait()
	close(b.bad)
	for err := range b.bad {
		r.t.Error(err)
	}
	r.gone()
}

// allWait waits until each of n sessions has a message at the closed gate.
func (r *rig) allWait(n int) {
	r.t.Helper()
	deadline := time.Now().Add(pressureGuard)
	for {
		waiting := 0
		for _, i := range r.p.Sessions(shop) {
			if i.Why == "its message waits at the closed gate" {
				waiting++
			}
		}
		if waiting == n {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%d of %d sessions have a message at the gate", waiting, n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestHoldOfBusySessions: from the call until all are at a boundary a hold takes
// no longer than the longest running exchange and 20 ms; nothing reaches the
// server while it lasts; the release wakes everybody within 20 ms, spread over
// that time. In memory time is simulated and the times are exact; over TCP the bound
// of 20 ms is widened by what the machine needs to let all of them ask at once,
// clients and server included.
func TestHoldOfBusySessions(t *testing.T) {
	t.Run("tcp", func(t *testing.T) {
		t.Cleanup(leaks(t)) // runs last
		holdBusy(newRig(t, false), sized(1000, 150), false)
	})
	n := 1000
	if raceEnabled {
		n = sized(1000, 250)
	}
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { holdBusy(newRig(t, true), n, true) })
	})
}

// together lets all clients ask at once and tells how long that takes.
func together(r *rig, all []*lean) time.Duration {
	var clients sync.WaitGroup
	start := make(chan struct{})
	for _, c := range all {
		clients.Go(func() {
			<-start
			if err := c.ask("SELECT 1"); err != nil {
				r.t.Error(err)
			}
		})
	}
	begin := time.Now()
	close(start)
	clients.Wait()
	return time.Since(begin)
}

func holdBusy(r *rig, n int, exact bool) {
	m := newMill(r)
	all := loginAll(r.t, n, r.dial)
	slack, limit := time.Millisecond, 20*time.Millisecond
	if !exact {
		limit += 4 * max(together(r, all), together(r, all))
		if raceEnabled {
			limit = 25 * time.Second // only gross mistakes show
		}
		slack = limit
	}
	crowd := makeBusy(r, all)
	ctx, done := context.WithTimeout(r.t.Context(), pressureGuard)
	defer done()

	crowd.slowest.Store(0)
	begin := time.Now()
	h := r.hold(time.Hour)
	closed := time.Since(begin)
	report := h.Gather(ctx)
	answered := time.Since(begin)
	if !report.Complete() || report.Held != n {
		r.t.Fatalf("held %d of %d, %d stragglers", report.Held, n, len(report.Stragglers))
	}
	m.nextPhase()
	r.allWait(n)
	slowest := max(longest, time.Duration(crowd.slowest.Load()))
	r.t.Logf("hold of %d: gates closed in %v, gathered in %v, reported in %v; the longest exchange took %v", n, closed, report.Gathered, answered, slowest)
	if answered > slowest+slack {
		r.t.Errorf("the hold took %v, want no more than the longest exchange, %v, and %v", answered, slowest, slack)
	}
	if got := len(m.arrivals()); got != 0 {
		r.t.Errorf("%d sessions reached the server during the hold", got)
	}
	begin = time.Now()
	stall := h.Release()
	took := time.Since(begin)
	if stall.Sessions != n {
		r.t.Errorf("%d sessions waited, want %d: %+v", stall.Sessions, n, stall)
	}
	deadline := time.Now().Add(pressureGuard)
	for len(m.arrivals()) < n && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	at := m.arrivals()
	if len(at) != n {
		r.t.Fatalf("%d of %d sessions went on", len(at), n)
	}
	slices.SortFunc(at, time.Time.Compare)
	last, densest := at[n-1].Sub(begin), densest(at)
	r.t.Logf("release of %d: reported in %v, the last message reached the server after %v, at the most %d within one millisecond; stall %+v", n, took, last, densest, stall)
	if last > limit {
		r.t.Errorf("the last session went on after %v, want 20 ms, which is %v on this machine", last, limit)
	}
	if exact && densest > n/4 {
		r.t.Errorf("%d of %d sessions went on within one millisecond: a herd", densest, n)
	}
	crowd.end(r)
}

// densest gives how many of the sorted times lie within one millisecond.
func densest(at []time.Time) int {
	most, from := 0, 0
	for i := range at {
		for at[i].Sub(at[from]) >= time.Millisecond {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// TestHoldNamesWhoStaysBusy: those whose exchange lasts longer than the
// controller waits are named with the reason, each of them and nobody else.
func TestHoldNamesWhoStaysBusy(t *testing.T) {
	inMemory(t, func(r *rig) {
		m := newMill(r)
		all := loginAll(r.t, 60, r.dial)
		hanging, rest := all[:7], all[7:]
		for _, c := range hanging {
			c.send(queryMessage("HANG"))
		}
		crowd := makeBusy(r, rest)
		h := r.hold(time.Hour)
		ctx, done := context.WithTimeout(r.t.Context(), longest+20*time.Millisecond)
		defer done()
		report := h.Gather(ctx)
		if report.Held != len(rest) || len(report.Stragglers) != len(hanging) {
			r.t.Fatalf("held %d, stragglers %+v", report.Held, report.Stragglers)
		}
		for _, i := range report.Stragglers {
			if i.Why != "HANG is running" || i.Age <= 0 {
				r.t.Errorf("straggler %+v", i)
			}
		}
		h.Release()
		close(m.let)
		for _, c := range hanging {
			if _, err := c.await(); err != nil {
				r.t.Error(err)
			}
			c.quit()
		}
		crowd.end(r)
	})
}

// TestLeaseOfACrowdRunsOut: nobody releases, and everybody goes on at the end of
// the lease.
func TestLeaseOfACrowdRunsOut(t *testing.T) {
	inMemory(t, func(r *rig) {
		m := newMill(r)
		const n = 100
		crowd := makeBusy(r, loginAll(r.t, n, r.dial))
		begin := time.Now()
		h := r.hold(2 * time.Second)
		report := h.Gather(r.t.Context())
		if !report.Complete() || report.Held != n {
			r.t.Fatalf("report: held %d", report.Held)
		}
		r.allWait(n)
		m.nextPhase()
		for len(m.arrivals()) < n && time.Since(begin) < time.Minute {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(begin); took < 2*time.Second || took > 2*time.Second+20*time.Millisecond {
			r.t.Errorf("the sessions went on after %v", took)
		}
		crowd.end(r)
	})
}

// TestTwoHoldsAtOnce: of many that ask at the same time one gets the gates, and
// the next can have them when it is done.
func TestTwoHoldsAtOnce(t *testing.T) {
	onBoth(t, func(r *rig) {
		r.login()
		for round := range 20 {
			var got []*proxy.Hold
			var mu sync.Mutex
			var askers sync.WaitGroup
			for range 8 {
				askers.Go(func() {
					h, err := r.p.Hold(shop, time.Minute)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						got = append(got, h)
					} else if !strings.Contains(err.Error(), "held already") {
						r.t.Error(err)
					}
				})
			}
			askers.Wait()
			if len(got) != 1 || got[0].Generation() != uint64(round+1) {
				r.t.Fatalf("round %d: %d holds were granted", round, len(got))
			}
			if report := got[0].Gather(r.t.Context()); report.Held != 1 {
				r.t.Errorf("report %+v", report)
			}
			var releasers sync.WaitGroup
			for range 4 {
				releasers.Go(func() { got[0].Release() })
			}
			releasers.Wait()
		}
	})
}

// TestReleaseWhileGathering: whoever waits for the sessions learns at once that
// the gates are open.
func TestReleaseWhileGathering(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		h := r.hold(time.Minute)
		gathered := make(chan proxy.HoldReport, 1)
		go func() { gathered <- h.Gather(r.t.Context()) }()
		h.Release()
		select {
		case report := <-gathered:
			if !report.Released || report.Complete() {
				r.t.Errorf("report %+v", report)
			}
		case <-time.After(guard):
			r.t.Fatal("Gather goes on waiting for sessions whose gates are open")
		}
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		turn(c, s, "SELECT 2")
	})
}

// TestLoginsDuringHold: sessions that come while the gates are closed log in
// undisturbed, are counted as held, and their first statements wait.
func TestLoginsDuringHold(t *testing.T) {
	onBoth(t, func(r *rig) {
		m := newMill(r)
		h := r.hold(time.Minute)
		const n = 40
		all := loginAll(r.t, n, r.dial)
		for _, c := range all {
			c.send(queryMessage("SELECT 1"))
		}
		r.allWait(n)
		if report := h.Gather(r.t.Context()); !report.Complete() || report.Held != n {
			r.t.Errorf("held %d, %d stragglers", report.Held, len(report.Stragglers))
		}
		if got := m.queries.Load(); got != 0 {
			r.t.Errorf("%d statements reached the server", got)
		}
		if stall := h.Release(); stall.Sessions != n {
			r.t.Errorf("stall %+v", stall)
		}
		for _, c := range all {
			if _, err := c.await(); err != nil {
				r.t.Error(err)
			}
			c.quit()
		}
		r.gone()
	})
}

// TestHungUpsDuringHold: of many held clients those that hang up or cancel lose
// their message unsent, and the others' go on.
func TestHungUpsDuringHold(t *testing.T) {
	onBoth(t, func(r *rig) {
		m := newMill(r)
		const n = 30
		all := loginAll(r.t, n, r.dial)
		h := r.hold(time.Minute)
		for _, c := range all {
			c.send(queryMessage("INSERT"))
		}
		r.allWait(n)
		for i, c := range all {
			switch i % 3 {
			case 0:
				c.conn.Close()
			case 1:
				c.reset()
			}
		}
		r.allWait(n / 3)
		h.Release()
		for i, c := range all {
			if i%3 == 2 {
				if _, err := c.await(); err != nil {
					r.t.Error(err)
				}
				c.quit()
			}
		}
		r.gone()
		if got := m.queries.Load(); got != n/3 {
			r.t.Errorf("%d statements reached the server, want the %d of those who stayed", got, n/3)
		}
	})
}

// TestShutdownDuringHold: the drain time goes by while the gates are closed.
// What waited is not sent, everybody is told 57P01, and the hold is over.
func TestShutdownDuringHold(t *testing.T) {
	onBoth(t, func(r *rig) {
		m := newMill(r)
		const n = 20
		all := loginAll(r.t, n, r.dial)
		h := r.hold(time.Hour)
		for _, c := range all[:n/2] {
			c.send(queryMessage("INSERT"))
		}
		r.allWait(n / 2)
		ctx, done := context.WithTimeout(r.t.Context(), 100*time.Millisecond)
		defer done()
		if err := r.p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			r.t.Errorf("Shutdown: %v", err)
		}
		for _, c := range all {
			if _, err := c.await(); codeOf(err) != "57P01" {
				r.t.Errorf("a held client was told %v", err)
			}
			c.conn.Close()
		}
		if got := m.queries.Load(); got != 0 {
			r.t.Errorf("%d held statements reached the server", got)
		}
		if h.Pin() || !h.Gather(r.t.Context()).Released {
			r.t.Error("the hold outlives the proxy")
		}
	})
}

// TestReleaseDuringShutdown: while a proxy drains, a hold and its release work
// as ever, and those held go on until they leave by themselves.
func TestReleaseDuringShutdown(t *testing.T) {
	onBoth(t, func(r *rig) {
		newMill(r)
		const n = 20
		all := loginAll(r.t, n, r.dial)
		h := r.hold(time.Hour)
		for _, c := range all {
			c.send(queryMessage("SELECT 1"))
		}
		r.allWait(n)
		over := make(chan error, 1)
		ctx, done := context.WithTimeout(r.t.Context(), pressureGuard)
		defer done()
		go func() { over <- r.p.Shutdown(ctx) }()
		if stall := h.Release(); stall.Sessions != n {
			r.t.Errorf("stall %+v", stall)
		}
		for _, c := range all {
			if _, err := c.await(); err != nil {
				r.t.Error(err)
			}
			c.quit()
		}
		if err := <-over; err != nil {
			r.t.Errorf("Shutdown: %v", err)
		}
	})
}

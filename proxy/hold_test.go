package proxy_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
	"mzcanary/router"
)

func cancelled() context.Context {
	ctx, done := context.WithCancel(context.Background())
	done()
	return ctx
}

func readFull(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) hold(lease time.Duration) *proxy.Hold {
	r.t.Helper()
	h, err := r.p.Hold(shop, lease)
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

// waits lets the session's message arrive at the closed gate.
func (r *rig) waits() {
	r.t.Helper()
	r.becomes("waiting at the gate", func(i proxy.SessionInfo) bool { return i.Why == "its message waits at the closed gate" })
}

func TestHoldKeepsTheNextMessage(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		h := r.hold(time.Minute)
		if report := h.Gather(r.t.Context()); !report.Complete() || report.Held != 1 {
			r.t.Fatalf("report %+v", report)
		}
		c.send(query("SELECT 1"))
		r.waits()
		r.toCanary()
		if !h.Pin() {
			r.t.Error("the hold is over before its time")
		}
		released := make(chan proxy.Stall, 1)
		go func() { released <- h.Release() }()
		s.expect(moveToCanary) // whoever passes the gate is moved first
		s.moved("prod_deploy")
		s.expect(`Q "SELECT 1"`)
		if stall := <-released; stall.Sessions != 1 {
			r.t.Errorf("stall %+v", stall)
		}
		if h.Release().Sessions != 1 || h.Pin() {
			r.t.Error("a second release must be harmless and Pin must fail after it")
		}
	})
}

func TestHoldWaitsForTheRunningExchange(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		h := r.hold(time.Minute)
		defer h.Release()
		report := h.Gather(cancelled())
		if len(report.Stragglers) != 1 || report.Stragglers[0].Place != proxy.PlaceBusy || report.Stragglers[0].Why != "SELECT is running" {
			r.t.Fatalf("report %+v", report)
		}
		s.send(complete("SELECT 1"), ready('I'))
		if report := h.Gather(r.t.Context()); !report.Complete() || report.Held != 1 {
			r.t.Fatalf("report %+v", report)
		}
		c.expect(`C "SELECT 1"`, "Z I")
		if _, err := r.p.Hold(shop, time.Minute); err == nil {
			r.t.Error("a second hold of the same sessions was granted")
		}
	})
}

func TestHoldNamesTransactionsAndStreams(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SUBSCRIBE answer"))
		s.expect(`Q "SUBSCRIBE answer"`)
		s.send(&pgproto3.RowDescription{}, &pgproto3.DataRow{Values: [][]byte{[]byte("1")}})
		c.front.Receive()
		c.expect(`D "1"`)
		h := r.hold(time.Minute)
		report := h.Gather(r.t.Context())
		if len(report.Streaming) != 1 || report.Streaming[0].Statement != "SUBSCRIBE" {
			r.t.Fatalf("report %+v", report)
		}
		h.Release()
		s.send(complete("SUBSCRIBE"), ready('I'))
		c.expect(`C "SUBSCRIBE"`, "Z I")
		c.send(query("BEGIN"))
		s.expect(`Q "BEGIN"`)
		s.send(complete("BEGIN"), ready('T'))
		c.expect(`C "BEGIN"`, "Z T")
		h = r.hold(time.Minute)
		report = h.Gather(cancelled())
		if len(report.Stragglers) != 1 || report.Stragglers[0].Why != "idle in a transaction, behind BEGIN" {
			r.t.Fatalf("report %+v", report)
		}
		// Inside its transaction the session goes on, to its end.
		c.send(query("COMMIT"))
		s.expect(`Q "COMMIT"`)
		s.send(complete("COMMIT"), ready('I'))
		if report = h.Gather(r.t.Context()); !report.Complete() {
			r.t.Fatalf("report %+v", report)
		}
		h.Release()
	})
}

func TestClientThatHangsUpLosesItsHeldMessage(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		h := r.hold(time.Minute)
		c.send(query("INSERT INTO t VALUES (1)"))
		r.waits()
		c.conn.Close()
		if got := s.expectEnd(); len(got) != 0 {
			r.t.Errorf("the server got %q", got)
		}
		h.Release()
	})
}

func TestS20CancelWhileHeldDropsTheMessage(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		h := r.hold(time.Minute)
		c.send(query("SELECT 1"), query("SELECT 2"))
		r.waits()
		r.cancel(key)
		c.expect("E ERROR 57014", "Z I")
		r.waits() // the second one does
		h.Release()
		s.expect(`Q "SELECT 2"`)
		s.send(complete("SELECT 2"), ready('I'))
		c.expect(`C "SELECT 2"`, "Z I")
	})
}

func TestCancelWhileHeldDropsTheWholeBatch(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		h := r.hold(time.Minute)
		c.send(&pgproto3.Parse{Query: "INSERT INTO t VALUES (1)"}, &pgproto3.Bind{})
		r.waits()
		r.cancel(key)
		c.expect("E ERROR 57014")
		c.send(&pgproto3.Execute{}, &pgproto3.Sync{}, query("SELECT 2"))
		c.expect("Z I")
		r.waits()
		h.Release()
		s.expect(`Q "SELECT 2"`)
	})
}

func TestTerminatePassesTheClosedGate(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		h := r.hold(time.Minute)
		defer h.Release()
		c.send(&pgproto3.Terminate{})
		s.expect("X")
		s.conn.Close()
		c.expectEnd()
	})
}

func TestNewSessionsAreBornHeld(t *testing.T) {
	onBoth(t, func(r *rig) {
		h := r.hold(time.Minute)
		c, s := r.login() // the login is not held up
		if report := h.Gather(r.t.Context()); report.Held != 1 {
			r.t.Fatalf("report %+v", report)
		}
		c.send(query("SELECT 1"))
		r.waits()
		h.Release()
		s.expect(`Q "SELECT 1"`)
	})
}

func TestLeaseRunsOut(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		h := r.hold(3 * time.Second)
		c.send(query("SELECT 1"))
		begin := time.Now()
		s.expect(`Q "SELECT 1"`)
		if took := time.Since(begin); took < 3*time.Second || took > 3100*time.Millisecond {
			r.t.Errorf("released after %v", took)
		}
		if h.Pin() {
			r.t.Error("Pin succeeded on a hold that is over")
		}
		if report := h.Gather(r.t.Context()); !report.Released || report.Complete() {
			r.t.Errorf("report %+v", report)
		}
	})
}

func TestPinKeepsTheLease(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		h := r.hold(time.Second)
		if !h.Pin() {
			r.t.Fatal("Pin failed")
		}
		c.send(query("SELECT 1"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if i := r.session(); !i.Held {
			r.t.Errorf("session %+v", i)
		}
		h.Release()
		s.expect(`Q "SELECT 1"`)
	})
}

func TestNoHoldSwitch(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		h := r.hold(time.Minute)
		if report := h.Gather(r.t.Context()); !report.Complete() || report.Held != 1 {
			r.t.Errorf("report %+v", report)
		}
		turn(c, s, "SELECT 1")
		h.Release()
	}, func(c *proxy.Config) { c.Unsafe.NoHold = true })
}

// TestHoldOfAPipeliner: a client that is always ahead of the answers comes to
// rest, and is released with everything in order.
func TestHoldOfAPipeliner(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT 1"), query("SELECT 2"))
		s.expect(`Q "SELECT 1"`, `Q "SELECT 2"`)
		h := r.hold(time.Minute)
		c.send(query("SELECT 3"), query("SELECT 4"))
		s.send(complete("SELECT 1"), ready('I'))
		s.send(complete("SELECT 2"), ready('I'))
		if report := h.Gather(r.t.Context()); !report.Complete() {
			r.t.Fatalf("report %+v", report)
		}
		c.expect(`C "SELECT 1"`, "Z I", `C "SELECT 2"`, "Z I")
		r.waits()
		h.Release()
		s.expect(`Q "SELECT 3"`, `Q "SELECT 4"`)
	})
}

// TestStreamsKeepTheirVersion: a stream that began on the version that a swap
// replaced reads the old one until it ends; one that began on the canary reads
// what is production now.
func TestStreamsKeepTheirVersion(t *testing.T) {
	onBoth(t, func(r *rig) {
		stream := func(c *player, s *scripted) {
			c.send(query("SUBSCRIBE answer"))
			s.expect(`Q "SUBSCRIBE answer"`)
			s.send(&pgproto3.DataRow{Values: [][]byte{[]byte("1")}})
			c.expect(`D "1"`)
		}
		stable, ss := r.login("user", "a")
		stream(stable, ss)
		r.toCanary()
		canary, cs := r.begin("user", "b")
		cs.accept()
		cs.expect(moveToCanary)
		cs.moved("prod_deploy")
		canary.awaitReady()
		stream(canary, cs)
		h := r.hold(time.Minute)
		if report := h.Gather(r.t.Context()); !report.Complete() || len(report.Streaming) != 2 {
			r.t.Fatalf("report %+v", report)
		}
		r.route(func(d *router.Deployment) { d.Canary = router.CanaryLive })
		r.route(func(d *router.Deployment) { d.Swaps++; d.Canary, d.Weight = router.CanaryClosed, 0 })
		h.Release()
		v := r.p.Survey(shop)
		if len(v.Old) != 1 || v.Old[0].User != "a" || v.Wanted != [2]int{2, 0} || v.Sessions != [2]int{1, 1} {
			r.t.Errorf("survey %+v", v)
		}
		if n := r.p.End(shop, proxy.Which{Old: true, Streams: true}, "It read the old version."); n != 1 {
			r.t.Errorf("ended %d", n)
		}
		stable.expect("E FATAL 57P01")
		// The canary's stream follows at its next boundary.
		cs.send(complete("SUBSCRIBE"), ready('I'))
		canary.expect(`C "SUBSCRIBE"`, "Z I")
		canary.send(query("SELECT 1"))
		cs.expect(moveToStable)
	})
}

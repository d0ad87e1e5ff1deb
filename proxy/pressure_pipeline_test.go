package proxy_test

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// countedConn counts what is written.
type countedConn struct {
	net.Conn
	n atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// batch is a query in the extended protocol.
func batch() []byte {
	return bytes.Join([][]byte{
		message('P', "\x00SELECT 1\x00\x00\x00"), message('B', "\x00\x00\x00\x00\x00\x00\x00\x00"), message('E', "\x00\x00\x00\x00\x00"), message('S', ""),
	}, nil)
}

// TestAMillionPipelinedQueries: one client that never waits for an answer, with
// equal queries (which the tracker counts) and with kinds that alternate (which
// it must list), held and moved on the way.
func TestAMillionPipelinedQueries(t *testing.T) {
	for name, pair := range map[string][]byte{
		"equal":       bytes.Repeat(queryMessage("SELECT 1"), 2),
		"alternating": append(queryMessage("SELECT 1"), batch()...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(leaks(t)) // runs last
			r := newRig(t, false)
			m := newMill(r)
			n := sized(1_000_000, 100_000)
			all := loginAll(t, 1, r.dial)
			c := all[0]
			before := measure()
			begin := time.Now()
			go func() {
				chunk := bytes.Repeat(pair, 50)
				for range n / 100 {
					if c.send(chunk) != nil {
						return // the reader says what became of it
					}
				}
			}()
			answered := make(chan struct{})
			disturbed := make(chan disturbance, 1)
			go func() { disturbed <- r.disturb(answered) }()
			var peak usage
			for i := range n {
				if _, err := c.await(); err != nil {
					t.Fatalf("answer %d: %v", i, err)
				}
				if i%(n/10) == n/20 {
					u := measure().minus(before)
					peak = usage{max(peak.heap, u.heap), max(peak.stacks, u.stacks), max(peak.rss, u.rss)}
				}
			}
			close(answered)
			did := <-disturbed
			took := time.Since(begin)
			t.Logf("%d pipelined queries in %v, %d a second, %+v; at the most %v", n, took, int64(n)*1000/max(took.Milliseconds(), 1), did, peak)
			// Listed one by one two million units would be 24 MB.
			if peak.heap > int64(sized(16, 4))<<20 || !raceEnabled && peak.rss > 24<<20 {
				t.Errorf("memory grew with the queries: %v", peak)
			}
			if did.Holds == 0 || did.Moves < 2 {
				t.Errorf("the pipeliner was not disturbed: %+v", did)
			}
			if i := r.session(); i.Place != "at boundary" {
				t.Errorf("session %+v", i)
			}
			if got := m.units.Load(); got < int64(n) {
				t.Errorf("the server answered %d", got)
			}
			c.quit()
			r.gone()
		})
	}
}

// disturbance is what was done to a session, each time to its end.
type disturbance struct{ Holds, Moves int }

// disturb moves the only session to and fro, and holds it in between, until stop.
func (r *rig) disturb(stop <-chan struct{}) (did disturbance) {
	ctx, done := context.WithTimeout(r.t.Context(), pressureGuard)
	defer done()
	for canary := true; ; canary = !canary {
		if canary {
			r.toCanary()
		} else {
			r.toStable()
		}
		for list := r.p.Sessions(""); len(list) == 1 && !list[0].Moved; list = r.p.Sessions("") {
			time.Sleep(100 * time.Microsecond)
		}
		did.Moves++
		h, err := r.p.Hold(shop, pressureGuard)
		if err != nil {
			r.t.Error(err)
			return did
		}
		report := h.Gather(ctx)
		h.Release()
		if !report.Complete() {
			r.t.Errorf("the session was not held: %+v", report)
		}
		did.Holds++
		select {
		case <-stop:
			return did
		default:
		}
	}
}

// TestPipelineWithoutAnswers: the server answers nothing. What the tracker must
// list is bounded, and the client is read no further; what it can count is the
// server's to bound.
func TestPipelineWithoutAnswers(t *testing.T) {
	t.Cleanup(leaks(t)) // runs last
	r := newRig(t, false)
	n := sized(20, 4)
	all := loginAllSilent(t, r, n)
	before := measure()
	counted := make([]countedConn, n)
	over := make(chan struct{}, n)
	for i, c := range all {
		counted[i].Conn = c.conn
		go func() {
			defer func() { over <- struct{}{} }()
			chunk := bytes.Repeat(append(queryMessage("SELECT 1"), batch()...), 50)
			for {
				if _, err := counted[i].Write(chunk); err != nil {
					return
				}
			}
		}()
	}
	sent := settled(t, "what the clients have sent", func() (sum int64) {
		for i := range counted {
			sum += counted[i].n.Load()
		}
		return sum
	})
	grown := measure().minus(before)
	t.Logf("%d clients got rid of %d KiB each without an answer; %v", n, sent>>10/int64(n), grown)
	if limit := int64(n)*(512<<10) + 4<<20; grown.heap > limit {
		t.Errorf("the proxy keeps too much: %v, want no more than %d KiB of heap", grown, limit>>10)
	}
	for _, i := range r.p.Sessions("") {
		if i.Place != "busy" {
			t.Errorf("session %+v", i)
		}
	}
	for _, c := range all {
		c.conn.Close()
	}
	for range all {
		<-over
	}
}

// loginAllSilent brings up sessions whose server reads everything and answers
// nothing after the login.
func loginAllSilent(t *testing.T, r *rig, n int) []*lean {
	t.Helper()
	var all []*lean
	for range n {
		c, s := r.login()
		all = append(all, &lean{conn: c.conn})
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			var b [32 << 10]byte
			for {
				if _, err := s.conn.Read(b[:]); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() {
			s.conn.Close()
			<-drained
		})
	}
	return all
}

package proxy_test

import (
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mzcanary/proxy"
)

// narrow makes a client's socket take little, so that what it does not read
// waits in the proxy and before it.
func narrow(dial func() (net.Conn, error)) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		c, err := dial()
		under := c
		if t, ok := c.(*tls.Conn); ok {
			under = t.NetConn()
		}
		if t, ok := under.(*net.TCPConn); ok {
			t.SetReadBuffer(32 << 10)
			t.SetWriteBuffer(32 << 10)
		}
		return c, err
	}
}

// extra is what a session under pressure may have more when it is sealed, in bytes:
// four ends of TLS, two of them the test's, each with what it has read of a record and
// with one that it makes.
func (r *rig) extra() int64 {
	if r.sealed {
		return 4 * 48 << 10
	}
	return 0
}

// sized is sized, but small over TLS, where the test's own two ends cost the most.
func (r *rig) sized(full, ordinary int) int {
	if r.sealed {
		return ordinary
	}
	return sized(full, ordinary)
}

// TestClientsThatDoNotRead: answers far larger than any buffer to clients that
// have stopped reading. The proxy keeps a buffer a session, the server is made
// to wait, a hold names them, and when they read on everything arrives.
func TestClientsThatDoNotRead(t *testing.T) { onLoops(t, clientsThatDoNotRead) }

func clientsThatDoNotRead(r *rig) {
	m := newMill(r)
	n, rows := r.sized(64, 8), r.sized(1024, 320) // of 64 KiB
	all := loginAll(r.t, n, narrow(r.dial))
	before := measure()
	for _, c := range all {
		c.send(queryMessage("ROWS " + strconv.Itoa(rows)))
	}
	sent := settled(r.t, "what the server has sent", m.sent.Load)
	grown := measure().minus(before)
	r.t.Logf("%d clients that do not read, %d MiB each: the server got rid of %d KiB a session; %v", n, rows>>4, sent>>10/int64(n), grown)
	if total := int64(n*rows) * 64 << 10; sent > total*3/4 {
		r.t.Errorf("the server has sent %d of %d bytes: nobody makes it wait", sent, total)
	}
	limit := int64(n)*(2*64<<10+r.extra()) + 4<<20
	if grown.heap > limit || !raceEnabled && grown.rss > limit+16<<20 {
		r.t.Errorf("the proxy keeps too much: %v, want no more than %d KiB of heap", grown, limit>>10)
	}

	begin := time.Now()
	h := r.hold(time.Minute)
	report := h.Gather(cancelled())
	if took := time.Since(begin); took > time.Second {
		r.t.Errorf("the hold took %v to answer", took)
	}
	// A single statement whose rows have begun to come is planned: it is named
	// as streaming, and no swap touches it.
	named := append(report.Stragglers, report.Streaming...)
	if len(named) != n || report.Held != 0 {
		r.t.Errorf("%d are named, %d held, want %d and 0", len(named), report.Held, n)
	}
	for _, i := range named {
		if i.Statement != "ROWS" || i.Why == "" {
			r.t.Errorf("named %+v", i)
		}
	}
	h.Release()

	var readers sync.WaitGroup
	for i, c := range all {
		readers.Go(func() {
			if got, err := c.await(); err != nil || got != int64(rows)*64<<10 {
				r.t.Errorf("client %d got %d bytes, %v", i, got, err)
			}
			c.quit()
		})
	}
	readers.Wait()
	r.gone()
}

// TestClientThatDoesNotReadForMinutes: time alone ends nothing, and the session
// can be ended by policy all the same.
func TestClientThatDoesNotReadForMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, true)
		newMill(r)
		c, err := leanLogin(r.dial, "slow")
		if err != nil {
			t.Fatal(err)
		}
		c.conn.SetDeadline(time.Time{})
		c.send(queryMessage("ROWS 100"))
		for range 5 {
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			i := r.session()
			if i.Place != proxy.PlaceStreaming && i.Place != proxy.PlaceBusy || i.Age < 2*time.Minute {
				t.Fatalf("session %+v", i)
			}
			h := r.hold(time.Second)
			if report := h.Gather(cancelled()); len(report.Stragglers)+len(report.Streaming) != 1 {
				t.Fatalf("report %+v", report)
			}
			h.Release()
		}
		if got, err := c.await(); got != 100*64<<10 || err != nil {
			t.Fatalf("when it read on the client got %d bytes, %v", got, err)
		}
		c.send(queryMessage("ROWS 100"))
		time.Sleep(time.Minute)
		if n := r.p.End(shop, proxy.Which{}, "too slow"); n != 1 {
			t.Errorf("ended %d", n)
		}
		r.gone()
		c.conn.Close()
	})
}

// TestServersThatDoNotRead: the other direction. Clients that send more than the
// server takes are made to wait, and nothing piles up.
func TestServersThatDoNotRead(t *testing.T) { onLoops(t, serversThatDoNotRead) }

func serversThatDoNotRead(r *rig) {
	m := newMill(r)
	n, size := r.sized(64, 8), r.sized(64<<20, 20<<20)
	all := loginAll(r.t, n, narrow(r.dial))
	for _, c := range all {
		c.send(queryMessage("HANG"))
	}
	eventually(r.t, "the server reads no more", func() bool { return m.queries.Load() == int64(n) })
	before := measure()
	counted := make([]countedConn, n)
	var writers sync.WaitGroup
	for i, c := range all {
		counted[i].Conn = c.conn
		writers.Go(func() {
			if err := writeLarge(&counted[i], 'Q', size); err != nil {
				r.t.Errorf("client %d: %v", i, err)
			}
		})
	}
	sent := settled(r.t, "what the clients have sent", func() (sum int64) {
		for i := range counted {
			sum += counted[i].n.Load()
		}
		return sum
	})
	grown := measure().minus(before)
	r.t.Logf("%d clients that write %d MiB to servers that do not read got rid of %d KiB each; %v", n, size>>20, sent>>10/int64(n), grown)
	if sent > int64(n*size)*3/4 {
		r.t.Errorf("the clients have sent %d of %d bytes: nobody makes them wait", sent, n*size)
	}
	limit := int64(n)*(3*64<<10+r.extra()) + 4<<20 // the writers' own 32 KiB too
	if grown.heap > limit || !raceEnabled && grown.rss > limit+16<<20 {
		r.t.Errorf("the proxy keeps too much: %v, want no more than %d KiB of heap", grown, limit>>10)
	}
	h := r.hold(time.Minute)
	if report := h.Gather(cancelled()); len(report.Stragglers) != n {
		r.t.Errorf("%d stragglers, want %d", len(report.Stragglers), n)
	}
	h.Release()
	close(m.let)
	writers.Wait()
	for i, c := range all {
		for range 2 {
			if _, err := c.await(); err != nil {
				r.t.Errorf("client %d: %v", i, err)
			}
		}
		c.quit()
	}
	r.gone()
	if got := m.got.Load(); got < int64(n*size) {
		r.t.Errorf("the server got %d bytes of %d", got, n*size)
	}
}

// writeLarge writes one message with a body of n bytes from a small buffer.
func writeLarge(w io.Writer, kind byte, n int) error {
	head := message(kind, "")
	head[1], head[2], head[3], head[4] = byte((n+4)>>24), byte((n+4)>>16), byte((n+4)>>8), byte(n+4)
	if _, err := w.Write(head); err != nil {
		return err
	}
	for n > 0 {
		k, err := w.Write(zeros[:min(n, len(zeros))])
		if err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// TestClientThatWritesSlowly: a statement that comes byte by byte over minutes.
// It keeps its session in the way of a hold, by name, and reaches the server
// whole.
func TestClientThatWritesSlowly(t *testing.T) {
	inMemory(t, func(r *rig) {
		m := newMill(r)
		c, err := leanLogin(r.dial, "slow")
		if err != nil {
			r.t.Fatal(err)
		}
		c.conn.SetDeadline(time.Time{})
		msg := queryMessage("SELECT slowly")
		for i := range msg {
			c.send(msg[i : i+1])
			time.Sleep(20 * time.Second)
			h := r.hold(time.Second)
			report := h.Gather(cancelled())
			h.Release()
			switch last := i == len(msg)-1; {
			case last && report.Held != 1:
				r.t.Errorf("at its end: %+v", report)
			case !last && (len(report.Stragglers) != 1 || report.Stragglers[0].Why != "half a message was sent"):
				r.t.Errorf("after %d bytes: %+v", i+1, report)
			}
		}
		if _, err := c.await(); err != nil || m.queries.Load() != 1 {
			r.t.Errorf("%v, %d statements", err, m.queries.Load())
		}
		c.quit()
		r.gone()
	})
}

// TestRowsOf64MiB: messages far larger than any buffer, in both directions, on
// several sessions at a time, relayed through buffers of 64 KiB.
func TestRowsOf64MiB(t *testing.T) { onLoops(t, rowsOf64MiB) }

func rowsOf64MiB(r *rig) {
	newMill(r)
	n, size, rounds := r.sized(16, 3), 64<<20, r.sized(4, 1)
	all := loginAll(r.t, n, r.dial)
	before := measure()
	begin := time.Now()
	var clients sync.WaitGroup
	var peak usage
	for i, c := range all {
		clients.Go(func() {
			for range rounds {
				if err := c.send(queryMessage("ROW " + strconv.Itoa(size))); err != nil {
					r.t.Error(err)
				}
				if got, err := c.await(); err != nil || got != int64(size) {
					r.t.Errorf("client %d got %d bytes of %d: %v", i, got, size, err)
					return
				}
				if err := writeLarge(c.conn, 'Q', size); err != nil {
					r.t.Error(err)
				}
				if _, err := c.await(); err != nil {
					r.t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { clients.Wait(); close(over) }()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for running := true; running; {
		select {
		case <-look.C:
			u := measure().minus(before)
			peak = usage{max(peak.heap, u.heap), max(peak.stacks, u.stacks), max(peak.rss, u.rss)}
		case <-over:
			running = false
		}
	}
	took := time.Since(begin)
	total := int64(n*rounds*size) * 2
	r.t.Logf("%d MiB in messages of 64 MiB on %d sessions: %v, %d MiB/s; at the most %v", total>>20, n, took, total>>20*1000/max(took.Milliseconds(), 1), peak)
	limit := int64(n)*(4*64<<10+r.extra()) + 4<<20
	if peak.heap > limit || !raceEnabled && peak.rss > limit+16<<20 {
		r.t.Errorf("memory grew with the messages: %v, want no more than %d KiB of heap", peak, limit>>10)
	}
	for _, c := range all {
		c.quit()
	}
	r.gone()
}

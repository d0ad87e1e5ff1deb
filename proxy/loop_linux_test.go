package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
)

// TestIdleSessionsHaveNoGoroutine: nor after they have done something, been held
// and been moved.
func TestIdleSessionsHaveNoGoroutine(t *testing.T) {
	onLoops(t, func(r *rig) {
		before := runtime.NumGoroutine()
		const n = 40
		var backs []*scripted
		for range n {
			c, s := r.login()
			turn(c, s, "SELECT 1")
			backs = append(backs, s)
		}
		few := func() bool { return runtime.NumGoroutine() <= before+n/4 }
		eventually(r.t, "no goroutine waits for them", few)
		h := r.hold(time.Minute)
		if report := h.Gather(r.t.Context()); report.Held != n {
			r.t.Fatalf("report %+v", report)
		}
		h.Release()
		r.toCanary()
		r.p.Nudge()
		for _, s := range backs {
			s.expect(moveToCanary)
			s.moved("prod_deploy")
		}
		eventually(r.t, "all are moved", func() bool { return r.p.Survey(shop).Sessions == [2]int{0, n} })
		eventually(r.t, "and again none does", few)
	})
}

// TestHeldClientsHaveNoGoroutine: a message at the closed gate waits with its
// session.
func TestHeldClientsHaveNoGoroutine(t *testing.T) {
	onLoops(t, func(r *rig) {
		const n = 40
		var clients []*player
		var backs []*scripted
		for range n {
			c, s := r.login()
			clients, backs = append(clients, c), append(backs, s)
		}
		before := runtime.NumGoroutine()
		h := r.hold(time.Minute)
		for i, c := range clients {
			c.send(query("SELECT " + strconv.Itoa(i)))
		}
		eventually(r.t, "all wait", func() bool {
			waiting := 0
			for _, i := range r.p.Sessions(shop) {
				if strings.Contains(i.Why, "waits at the closed gate") {
					waiting++
				}
			}
			return waiting == n
		})
		if now := runtime.NumGoroutine(); now > before+n/4 {
			r.t.Errorf("%d goroutines, %d before %d messages waited", now, before, n)
		}
		if stall := h.Release(); stall.Sessions != n {
			r.t.Errorf("stall %+v", stall)
		}
		for i, s := range backs {
			s.expect(`Q "SELECT ` + strconv.Itoa(i) + `"`)
		}
	})
}

// TestSlowSessionGoesOnWhereItStopped: both directions of a session fill up and
// drain again, while another one of the same loop is answered; nothing is lost
// or mixed up.
func TestSlowSessionGoesOnWhereItStopped(t *testing.T) {
	onLoops(t, func(r *rig) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // one loop
		slow, slowBack := r.login()
		other, otherBack := r.login()
		const size = 16 << 20
		pattern := func(from byte) []byte {
			b := make([]byte, size)
			for i := range b {
				b[i] = from + byte(i*7>>3)
			}
			return b
		}
		question, answer := pattern(1), pattern(2)
		question = message('Q', string(question))
		rows := append(message('D', string(answer)), append(message('C', "SELECT 1\x00"), message('Z', "I")...)...)

		var writers sync.WaitGroup
		write := func(c net.Conn, b []byte) {
			writers.Go(func() {
				if _, err := c.Write(b); err != nil {
					r.t.Errorf("writing %d bytes: %v", len(b), err)
				}
			})
		}
		read := func(c net.Conn, want []byte) {
			r.t.Helper()
			got := make([]byte, len(want))
			readFull(r.t, c, got)
			if string(got) != string(want) {
				r.t.Errorf("%d bytes arrived changed", len(got))
			}
		}
		write(slow.conn, question)
		turn(other, otherBack, "SELECT 1")
		read(slowBack.conn, question[:len(question)/2])
		turn(other, otherBack, "SELECT 2")
		read(slowBack.conn, question[len(question)/2:])
		write(slowBack.conn, rows)
		turn(other, otherBack, "SELECT 3")
		read(slow.conn, rows[:len(rows)/2])
		turn(other, otherBack, "SELECT 4")
		read(slow.conn, rows[len(rows)/2:])
		writers.Wait()
		turn(slow, slowBack, "SELECT 5")
	})
}

// TestSessionIsEndedWhileItIsBusy: its loop is in the middle of reading it, and
// goes on with the others.
func TestSessionIsEndedWhileItIsBusy(t *testing.T) {
	onLoops(t, func(r *rig) {
		other, otherBack := r.login()
		for range 6 { // each may linger for a second
			c, s := r.login()
			var flood sync.WaitGroup
			flood.Go(func() { // the client never stops to send
				b := []byte(strings.Repeat(string(queryMessage("SELECT 1")), 1000))
				for {
					if _, err := c.conn.Write(b); err != nil {
						return
					}
				}
			})
			flood.Go(func() { // nor the server
				answer := append(message('C', "SELECT 1\x00"), message('Z', "I")...)
				buf := make([]byte, 32<<10)
				for {
					n, err := s.conn.Read(buf)
					if err != nil {
						return
					}
					if _, err := s.conn.Write([]byte(strings.Repeat(string(answer), n/len(queryMessage("SELECT 1"))))); err != nil {
						return
					}
				}
			})
			flood.Go(func() { io.Copy(io.Discard, c.conn) })
			turn(other, otherBack, "SELECT 1")
			eventually(r.t, "it is busy", func() bool { return len(r.p.Sessions(shop)) == 2 && r.p.Sessions(shop)[1].BytesIn > 1<<20 })
			if n := r.p.End(shop, proxy.Which{IDs: []string{r.p.Sessions(shop)[1].ID}}, "enough"); n != 1 {
				r.t.Fatalf("%d were ended", n)
			}
			flood.Wait()
			eventually(r.t, "it is gone", func() bool { return len(r.p.Sessions("")) == 1 })
			turn(other, otherBack, "SELECT 2")
		}
	}, func(c *proxy.Config) {
		c.DialCancel = func(context.Context) (net.Conn, error) { return nil, errors.New("this server takes no cancels") }
	})
}

// TestCancelledBatchArrivesInPieces: what is discarded with a message that was
// cancelled while it waited ends at its Sync, wherever reads split it; what
// comes behind it goes on.
func TestCancelledBatchArrivesInPieces(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		h := r.hold(time.Minute)
		batch := func(text string) []byte {
			var b []byte
			for _, m := range []pgproto3.FrontendMessage{&pgproto3.Parse{Query: text}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}} {
				var err error
				if b, err = m.Encode(b); err != nil {
					r.t.Fatal(err)
				}
			}
			return b
		}
		first := batch("SELECT " + strings.Repeat("x", 20<<10))
		whole := append(first, batch("SELECT 2")...)
		cut := len(first) - 3 // inside the Sync
		write := func(b []byte) {
			if _, err := c.conn.Write(b); err != nil {
				r.t.Fatal(err)
			}
		}
		write(whole[:cut])
		r.waits()
		r.cancel(key)
		c.expect("E ERROR 57014")
		write(whole[cut:])
		c.expect("Z I")
		r.waits() // the second batch
		h.Release()
		s.expect(`P "" "SELECT 2"`, "B", "E", "S")
	})
}

// TestLoopEndsWithTheProxy: whatever state its sessions are in.
func TestLoopEndsWithTheProxy(t *testing.T) {
	check := leaks(t)
	t.Run("rig", func(t *testing.T) {
		r := newRig(t, false)
		idle, _ := r.login()
		held, _ := r.login()
		r.hold(time.Minute)
		held.send(query("SELECT 1"))
		r.p.Nudge()
		hung, _ := r.begin() // its login is never answered
		_, _, _ = idle, held, hung
	}) // its Shutdown does not wait
	check()
}

package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
)

// dialMeter counts the dials that run at the same time.
type dialMeter struct{ now, most atomic.Int64 }

func (d *dialMeter) measure(c *proxy.Config) {
	inner := c.Dial
	c.Dial = func(ctx context.Context) (net.Conn, error) {
		n := d.now.Add(1)
		defer d.now.Add(-1)
		for most := d.most.Load(); n > most && !d.most.CompareAndSwap(most, n); most = d.most.Load() {
		}
		return inner(ctx)
	}
}

// TestConnectionStorm: very many clients connect at once. All get in, no more
// than the limit are being connected to the server at a time, and a session
// that was there before goes on being served.
func TestConnectionStorm(t *testing.T) {
	t.Cleanup(leaks(t)) // runs last
	const dials = 16
	var meter dialMeter
	r := newRig(t, false, func(c *proxy.Config) { c.Limits.Dials = dials; c.Limits.Startup = pressureGuard }, meter.measure)
	newMill(r)
	n := sized(2000, 300)
	old := loginAll(t, 1, r.dial)[0]
	stop := make(chan struct{})
	var served time.Duration
	var asked int
	var oldOne sync.WaitGroup
	oldOne.Go(func() {
		for {
			begin := time.Now()
			if err := old.ask("SELECT 1"); err != nil {
				t.Error(err)
				return
			}
			served, asked = max(served, time.Since(begin)), asked+1
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})

	all := make([]*lean, n)
	waits := make([]time.Duration, n)
	start := make(chan struct{})
	var clients sync.WaitGroup
	for i := range n {
		clients.Go(func() {
			<-start
			begin := time.Now()
			c, err := leanLogin(r.dial, "u")
			if err == nil {
				err = c.ask("SELECT 1")
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			all[i], waits[i] = c, time.Since(begin)
		})
	}
	begin := time.Now()
	close(start)
	clients.Wait()
	took := time.Since(begin)
	close(stop)
	oldOne.Wait()
	slices.Sort(waits)
	t.Logf("%d clients at once were in and answered after %v (median %v, last %v); at the most %d dials at a time; the old session was answered %d times, at the latest after %v",
		n, took, waits[n/2], waits[n-1], meter.most.Load(), asked, served)
	if most := meter.most.Load(); most > dials || most == 0 {
		t.Errorf("%d dials at a time, want no more than %d", most, dials)
	}
	if asked < 10 && n > 1000 {
		t.Errorf("the session that was there before was answered %d times", asked)
	}
	if got := len(r.p.Sessions("")); got != n+1 {
		t.Errorf("%d sessions, want %d", got, n+1)
	}
	old.quit()
	for _, c := range all {
		if c != nil {
			c.quit()
		}
	}
	r.gone()
}

// TestLimitsUnderAStorm: whoever is over a limit is told 53300, exactly as many
// as fit get in, and every place that becomes free can be taken again.
func TestLimitsUnderAStorm(t *testing.T) {
	onBoth(t, func(r *rig) {
		newMill(r)
		for round := range 3 {
			mine := r.storm("greedy", 40)
			if len(mine) != 10 {
				r.t.Fatalf("round %d: %d sessions of one user, the limit is 10", round, len(mine))
			}
			all := append(mine, r.storm("", 60)...)
			if len(all) != 50 {
				r.t.Fatalf("round %d: %d sessions, the limit is 50", round, len(all))
			}
			for _, c := range all {
				if err := c.ask("SELECT 1"); err != nil {
					r.t.Error(err)
				}
				c.quit()
			}
			r.gone()
		}
	}, func(c *proxy.Config) { c.Limits.MaxSessions, c.Limits.PerUser = 50, 10 })
}

// storm lets n clients log in at once, as one user or each as its own, and gives
// those who got in. The others must have been told that there are too many.
func (r *rig) storm(user string, n int) (in []*lean) {
	var mu sync.Mutex
	var clients sync.WaitGroup
	for i := range n {
		clients.Go(func() {
			name := user
			if name == "" {
				name = "u" + strconv.Itoa(i)
			}
			c, err := leanLogin(r.dial, name)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				in = append(in, c)
			} else if codeOf(err) != "53300" {
				r.t.Errorf("one too many was told %v", err)
			}
		})
	}
	clients.Wait()
	return in
}

// TestSilentConnectionsAreBounded: connections that never send their start-up
// packet cannot become more than allowed, disturb nobody who is in, and are
// closed at the deadline.
func TestSilentConnectionsAreBounded(t *testing.T) {
	inMemory(t, func(r *rig) {
		newMill(r)
		in := loginAll(r.t, 1, r.dial)[0]
		var silent []net.Conn
		for range 20 {
			c := r.conn()
			c.SetDeadline(time.Time{})
			silent = append(silent, c)
		}
		if _, err := leanLogin(r.dial, "late"); codeOf(err) != "53300" {
			r.t.Errorf("one too many was told %v", err)
		}
		if err := in.ask("SELECT 1"); err != nil {
			r.t.Error(err)
		}
		time.Sleep(12 * time.Second) // the deadline, and what a client may take to read its last word
		in.conn.SetDeadline(time.Now().Add(pressureGuard))
		late, err := leanLogin(r.dial, "late")
		if err != nil {
			r.t.Fatalf("after the silent ones have gone: %v", err)
		}
		late.quit()
		in.quit()
		for _, c := range silent {
			if got := (&peer{r.t, c}).expectEnd(); len(got) == 0 {
				r.t.Error("a silent client was not told why it was closed")
			}
			c.Close()
		}
		r.gone()
	}, func(c *proxy.Config) { c.Limits.Starting = 20 })
}

// TestResetStorm: clients that break the connection at every stage of a
// session, while others work. Nothing stays behind.
func TestResetStorm(t *testing.T) {
	t.Cleanup(leaks(t)) // runs last
	r := newRig(t, false)
	m := newMill(r)
	steady := loginAll(t, 4, r.dial)
	stop := make(chan struct{})
	var others sync.WaitGroup
	for i, c := range steady {
		others.Go(func() {
			for {
				if err := c.ask("SELECT 1"); err != nil {
					t.Errorf("an innocent client: %v", err)
					return
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(i) * time.Millisecond):
				}
			}
		})
	}
	holds := make(chan int, 1)
	others.Go(func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				holds <- n
				return
			default:
			}
			if h, err := r.p.Hold(shop, time.Minute); err == nil {
				ctx, done := context.WithTimeout(context.Background(), 2*time.Millisecond)
				h.Gather(ctx)
				done()
				h.Release()
			}
		}
	})
	rounds := sized(20_000, 600)
	var next atomic.Int64
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for next.Add(1) <= int64(rounds) {
				if err := breakOff(r.dial); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	close(m.let)
	close(stop)
	others.Wait()
	t.Logf("%d connections were broken off, %d holds meanwhile", rounds, <-holds)
	for _, c := range steady {
		c.quit()
	}
	r.gone()
}

// breakOff connects, goes on to some stage, and resets the connection.
func breakOff(dial func() (net.Conn, error)) error {
	conn, err := dial()
	if err != nil {
		return err
	}
	conn.SetDeadline(time.Now().Add(pressureGuard))
	c := &lean{conn: conn}
	defer c.reset()
	first := startupPacket("breaker")
	stage := rand.IntN(9)
	switch stage {
	case 0:
		return nil
	case 1:
		c.send(first[:1+rand.IntN(len(first)-1)])
		return nil
	case 2:
		c.send(first) // and the login is broken off
		return nil
	case 3:
		c.send(message('Q', "")[:4]) // no start-up packet at all
		return nil
	}
	c, err = leanLogin(dial, "breaker")
	if err != nil {
		return err
	}
	defer c.reset()
	switch stage {
	case 5:
		c.send(queryMessage("SELECT 1")[:7])
	case 6:
		c.send(queryMessage("HANG"))
	case 7:
		c.send(queryMessage("ROWS 100"))
		var some [100]byte
		c.in.Read(some[:])
	case 8:
		for range 20 {
			c.send(append(queryMessage("SELECT 1"), batch()...))
		}
	}
	return nil
}

// TestServerDiesMidRow: the server's end in the middle of a row reaches every
// client as the end, with nothing put behind the half row, and nothing stays.
func TestServerDiesMidRow(t *testing.T) {
	onBoth(t, func(r *rig) {
		newMill(r)
		const size = 200_000
		var clients sync.WaitGroup
		for i, c := range loginAll(r.t, 40, r.dial) {
			clients.Go(func() {
				defer c.conn.Close()
				c.send(queryMessage("CUT " + strconv.Itoa(size)))
				got := 0
				var b [4 << 10]byte
				for {
					n, err := c.in.Read(b[:])
					got += n
					if err != nil {
						break
					}
				}
				if got != 5+size/2 {
					r.t.Errorf("client %d got %d bytes, want the header and the half row, %d", i, got, 5+size/2)
				}
			})
		}
		clients.Wait()
		r.gone()
	})
}

// TestServerRestarts: all connections of the server end at once, under load.
// Every client learns of it, and the next ones are served.
func TestServerRestarts(t *testing.T) {
	t.Cleanup(leaks(t)) // runs last
	r := newRig(t, false)
	m := newMill(r)
	n := sized(500, 60)
	for range 3 {
		all := loginAll(t, n, r.dial)
		var clients sync.WaitGroup
		var ready sync.WaitGroup
		ready.Add(n)
		for i, c := range all {
			clients.Go(func() {
				err := c.ask("SELECT 1")
				ready.Done()
				text := []string{"SELECT 1", "ROWS 2", "PAUSE 1ms"}[i%3]
				for err == nil {
					err = c.ask(text)
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("client %d was left waiting: %v", i, err)
				}
				c.conn.Close()
			})
		}
		ready.Wait()
		m.cut()
		clients.Wait()
		r.gone()
	}
}

// TestHalfClosedPeers: a peer that closes its half only, at every stage, ends
// its session within the time that the other side is given.
func TestHalfClosedPeers(t *testing.T) {
	inMemory(t, func(r *rig) {
		m := newMill(r)
		type halves interface{ CloseWrite() error }
		for _, text := range []string{"", "HANG", "ROWS 50", "PAUSE 1s"} {
			c, err := leanLogin(r.dial, "half")
			if err != nil {
				r.t.Fatal(err)
			}
			if text != "" {
				c.send(queryMessage(text))
			}
			c.conn.(halves).CloseWrite()
			begin := time.Now()
			r.gone()
			if took := time.Since(begin); took > 7*time.Second {
				r.t.Errorf("after %q the session took %v to end", text, took)
			}
			(&peer{r.t, c.conn}).expectEnd()
			c.conn.Close()
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.cancels < 2 {
			r.t.Errorf("%d cancels: statements of clients that have gone run on", m.cancels)
		}
	})
}

// TestC8CancelStormRefusesNoLogin: cancels that wait for their turn are none of the
// connections that start, and are bounded themselves.
func TestC8CancelStormRefusesNoLogin(t *testing.T) {
	var atServer atomic.Int64
	inMemory(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		const n, most = 1200, 1024
		var cancels []net.Conn
		for range n {
			conn := r.conn()
			conn.Write(cancelPacket(key))
			cancels = append(cancels, conn)
			synctest.Wait()
		}
		open := 0
		for _, conn := range cancels {
			conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
			if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
		}
		if open != most || atServer.Load() != 64 {
			r.t.Errorf("%d cancels are under way, %d of them at the server; want %d and 64", open, atServer.Load(), most)
		}
		r.login("user", "other")
	}, func(c *proxy.Config) {
		c.Limits.Starting = 10
		c.DialCancel = func(context.Context) (net.Conn, error) {
			atServer.Add(1)
			ours, _ := memoryPipe() // nobody answers
			return ours, nil
		}
	})
}

// TestUnknownUsersLockNobodyOut: connections that name a user and do not log in take
// none of the user's places.
func TestUnknownUsersLockNobodyOut(t *testing.T) {
	onBoth(t, func(r *rig) {
		for range 5 {
			r.begin("user", "app") // the server has not said who it is
		}
		first, _ := r.login("user", "app")
		r.login("user", "app")
		conn := r.conn()
		conn.Write([]byte(packet(3<<16, "user\x00app\x00\x00")))
		if got := string((&peer{r.t, conn}).expectEnd()); !strings.Contains(got, "C53300") || !strings.Contains(got, "too many sessions of this user") {
			r.t.Errorf("the third one was told %q", got)
		}
		first.conn.Close()
		eventually0(r, "its place is free again", func() bool {
			in := 0
			for _, i := range r.p.Sessions("") {
				if i.Place != proxy.PlaceStarting {
					in++
				}
			}
			return in == 1
		})
		r.login("user", "app")
	}, func(c *proxy.Config) { c.Limits.PerUser = 2 })
}

// TestPlacesOfAUserAreTakenAtTheLogin: of two that log in at once, one gets the last place.
func TestPlacesOfAUserAreTakenAtTheLogin(t *testing.T) {
	onBoth(t, func(r *rig) {
		first, s1 := r.begin("user", "app")
		second, s2 := r.begin("user", "app")
		s1.accept()
		first.awaitReady()
		s2.accept()
		for {
			m, err := second.front.Receive()
			if err != nil {
				r.t.Fatal(err)
			}
			if e, ok := m.(*pgproto3.ErrorResponse); ok {
				if e.Code != "53300" {
					r.t.Errorf("told %s", e.Code)
				}
				break
			}
		}
		s2.expectEnd()
	}, func(c *proxy.Config) { c.Limits.PerUser = 1 })
}

// handshakes counts those that compute at the same time.
type handshakes struct {
	now, most atomic.Int64
	enter     chan struct{} // nil: nobody waits
}

func (h *handshakes) secure(t *testing.T) change {
	cert := certificate(t)
	return func(c *proxy.Config) {
		c.ClientTLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		c.ClientTLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			n := h.now.Add(1)
			for most := h.most.Load(); n > most && !h.most.CompareAndSwap(most, n); most = h.most.Load() {
			}
			if h.enter != nil {
				<-h.enter
			}
			h.now.Add(-1)
			return nil, nil
		}
	}
}

func secureDial(dial func() (net.Conn, error)) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		conn, err := dial()
		if err != nil {
			return nil, err
		}
		conn.SetDeadline(time.Now().Add(pressureGuard))
		conn.Write([]byte(sslRequest))
		var answer [1]byte
		if _, err := io.ReadFull(conn, answer[:]); err != nil || answer[0] != 'S' {
			conn.Close()
			return nil, fmt.Errorf("answered %q, %v", answer, err)
		}
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), nil
	}
}

// TestHandshakesAreBounded: no more than the limit compute at a time, and clients
// that stop in the middle of theirs keep no others out.
func TestHandshakesAreBounded(t *testing.T) {
	const limit, n = 3, 20
	var h handshakes
	synctest.Test(t, func(t *testing.T) {
		h.enter = make(chan struct{})
		r := newRig(t, true, h.secure(t), func(c *proxy.Config) { c.Limits.Handshakes = limit })
		newMill(r)
		for range 2 * limit { // silent behind their SSLRequest
			conn := r.conn()
			conn.Write([]byte(sslRequest))
		}
		in := make(chan error, n)
		for i := range n {
			go func() {
				c, err := leanLogin(secureDial(r.dial), fmt.Sprint("u", i))
				if err == nil {
					c.quit()
				}
				in <- err
			}()
		}
		synctest.Wait()
		if now := h.now.Load(); now != limit {
			t.Errorf("%d handshakes compute, want %d", now, limit)
		}
		close(h.enter)
		for range n {
			if err := <-in; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestTLSConnectionStorm is TestConnectionStorm with handshakes.
func TestTLSConnectionStorm(t *testing.T) {
	t.Cleanup(leaks(t)) // runs last
	const limit = 4
	var h handshakes
	r := newRig(t, false, h.secure(t), func(c *proxy.Config) { c.Limits.Handshakes, c.Limits.Startup = limit, pressureGuard })
	newMill(r)
	all := loginAll(t, sized(2000, 200), secureDial(r.dial))
	for _, c := range all {
		if err := c.ask("SELECT 1"); err != nil {
			t.Error(err)
		}
		c.quit()
	}
	if most := h.most.Load(); most > limit || most == 0 {
		t.Errorf("%d handshakes at a time, want no more than %d", most, limit)
	}
	r.gone()
}

package proxy_test

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/armstats"
	"mzcanary/proxy"
	"mzcanary/router"
)

func TestE3ServerDiesWhileIdle(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		s.conn.Close()
		c.expect("E FATAL 08006")
		c.expectEnd()
	})
}

func TestE1ServersFatalIsNotFollowedByOurs(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		s.send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01"})
		s.conn.Close()
		c.expect("E FATAL 57P01")
		if rest := c.expectEnd(); len(rest) != 0 {
			r.t.Errorf("behind it came %q", rest)
		}
	})
}

func TestE1ServerDiesBehindAnError(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX000"})
		s.conn.Close()
		c.expect("E ERROR XX000")
		if rest := c.expectEnd(); len(rest) != 0 {
			r.t.Errorf("a second error in the same exchange: %q", rest)
		}
	})
}

func TestE2ServerDiesWithinAMessage(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		half := []byte{'D', 0, 0, 1, 0, 'x', 'y'}
		s.conn.Write(half)
		s.conn.Close()
		if rest := c.expectEnd(); !bytes.Equal(rest, half) {
			r.t.Errorf("the client got %q, want the half message and nothing more", rest)
		}
		sn := r.stats.Find(shop).Snapshot()
		if n := sn.Arms[router.Stable].Classes[armstats.Lost]; n != 1 {
			r.t.Errorf("lost exchanges: %d, want 1", n)
		}
	})
}

func TestM15ClientBreaksTheProtocol(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.conn.Write([]byte{'Q', 0, 0, 0, 1})
		c.expect("E FATAL 08P01")
		c.expectEnd()
		if got := s.expectEnd(); len(got) != 0 {
			r.t.Errorf("the server got %q", got)
		}
	})
}

func TestEndByPolicy(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, _ := r.login()
		canary := router.Canary
		if n := r.p.End(shop, proxy.Which{Arm: &canary}, "x"); n != 0 {
			r.t.Errorf("ended %d sessions of an arm that has none", n)
		}
		if n := r.p.End(shop, proxy.Which{IDs: []string{r.session().ID}}, "The old version is being dropped."); n != 1 {
			r.t.Errorf("ended %d", n)
		}
		m, err := c.front.Receive()
		if err != nil {
			r.t.Fatal(err)
		}
		if e, ok := m.(*pgproto3.ErrorResponse); !ok || e.Code != "57P01" || e.Detail != "The old version is being dropped." {
			r.t.Errorf("the client got %+v", m)
		}
		c.expectEnd()
	})
}

func TestE7ShutdownDrains(t *testing.T) {
	inMemory(t, func(r *rig) {
		idle, _ := r.login("user", "a")
		busy, s := r.login("user", "b")
		quitter, qs := r.login("user", "c")
		busy.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		ctx, done := context.WithTimeout(r.t.Context(), 5*time.Second)
		defer done()
		begin := time.Now()
		over := make(chan error, 1)
		go func() { over <- r.p.Shutdown(ctx) }()
		// Sessions go on while the drain time runs.
		turn(quitter, qs, "SELECT 1")
		quitter.send(&pgproto3.Terminate{})
		qs.expect("X")
		qs.conn.Close()
		idle.expect("E FATAL 57P01")
		if took := time.Since(begin); took < 5*time.Second {
			r.t.Errorf("the idle session was ended after %v, before the drain time was over", took)
		}
		// The busy one is given time to finish.
		s.send(complete("SELECT 1"), ready('I'))
		busy.expect(`C "SELECT 1"`, "Z I", "E FATAL 57P01")
		if err := <-over; err == nil {
			r.t.Error("Shutdown did not say that sessions were ended")
		}
	})
}

// TestLastBytesAndEndInOneEvent: the peer's last bytes and the end of its
// stream can reach the poller as one event, and the end must not be lost. On
// one processor it used to be, every time.
func TestLastBytesAndEndInOneEvent(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	t.Cleanup(leaks(t))
	r := newRig(t, false)
	for range 60 {
		c, s := r.login()
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		// The server ends with a FATAL and its FIN at once.
		s.back.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01"})
		s.back.Flush()
		s.conn.Close()
		c.expect("E FATAL 57P01")
		c.expectEnd()
	}
	for range 60 {
		c, s := r.login()
		c.send(&pgproto3.Terminate{})
		c.conn.Close()
		s.expect("X")
		if rest := s.expectEnd(); len(rest) != 0 {
			t.Errorf("behind X came %q", rest)
		}
		s.conn.Close()
	}
	for range 60 { // a whole message and the end
		c, s := r.login()
		c.send(query("SELECT 1"))
		c.conn.(*net.TCPConn).CloseWrite()
		s.expect(`Q "SELECT 1"`)
		if upstream := r.backend(); upstream != nil { // its cancel
			upstream.Close()
		}
		s.expectEnd()
		s.conn.Close()
	}
}

// TestTeardownWithBothDirectionsBlocked: the client does not read and the
// server does not read, both have sent all that fits, and both pumps wait for
// each other's peer. The session must end all the same.
func TestTeardownWithBothDirectionsBlocked(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		block := func(conn net.Conn, kind byte) {
			msg := append([]byte{kind, 0, 0x10, 0, 4}, make([]byte, 1<<20)...)
			conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
			for {
				if _, err := conn.Write(msg); err != nil {
					return
				}
			}
		}
		var both sync.WaitGroup
		both.Go(func() { block(c.conn, 'd') })
		both.Go(func() { block(s.conn, 'd') })
		both.Wait()
		begin := time.Now()
		if n := r.p.End(shop, proxy.Which{}, "x"); n != 1 {
			r.t.Errorf("ended %d", n)
		}
		for len(r.p.Sessions("")) != 0 {
			if time.Since(begin) > 5*time.Second {
				r.t.Fatal("the session does not end")
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// TestDescriptorsAreNotMixedUp: sessions that end while others begin reuse each
// other's descriptors; no byte may reach another session.
func TestDescriptorsAreNotMixedUp(t *testing.T) {
	t.Cleanup(leaks(t))
	back, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var servers sync.WaitGroup
	servers.Go(func() { // answers each query with its own text
		for {
			conn, err := back.Accept()
			if err != nil {
				return
			}
			servers.Go(func() { echo(conn) })
		}
	})
	t.Cleanup(servers.Wait)
	t.Cleanup(func() { back.Close() })
	s := newStand(t, back.Addr().String(), func(c *proxy.Config) { c.Kind = proxy.Materialize })
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			for i := range 60 {
				conn, err := net.Dial("tcp", s.addr)
				if err != nil {
					t.Error(err)
					return
				}
				conn.SetDeadline(time.Now().Add(guard))
				front := pgproto3.NewFrontend(conn, conn)
				front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "u"}})
				front.Flush()
				own := string(rune('a'+n)) + time.Now().String()
				for k := range 3 {
					front.Send(query(own))
					front.Flush()
					if i%2 == 0 && k == 2 {
						break // hang up in the middle
					}
					if got := tagOf(front); got != own {
						t.Errorf("a session asked %q and was answered %q", own, got)
					}
				}
				conn.Close()
			}
		})
	}
	clients.Wait()
}

func tagOf(front *pgproto3.Frontend) string {
	tag := ""
	for seen := false; ; {
		m, err := front.Receive()
		if err != nil {
			return err.Error()
		}
		switch m := m.(type) {
		case *pgproto3.CommandComplete:
			tag, seen = string(m.CommandTag), true
		case *pgproto3.ReadyForQuery:
			if seen {
				return tag
			}
		}
	}
}

// echo is a server that completes every Query with its own text as the tag.
func echo(conn net.Conn) {
	defer conn.Close()
	back := pgproto3.NewBackend(conn, conn)
	if _, err := back.ReceiveStartupMessage(); err != nil {
		return
	}
	back.Send(&pgproto3.AuthenticationOk{})
	back.Send(&pgproto3.ParameterStatus{Name: "cluster", Value: "elsewhere"})
	back.Send(&pgproto3.ParameterStatus{Name: "search_path", Value: "elsewhere"})
	back.Send(ready('I'))
	for back.Flush() == nil {
		m, err := back.Receive()
		if err != nil {
			return
		}
		q, ok := m.(*pgproto3.Query)
		if !ok {
			return
		}
		back.Send(complete(q.String))
		back.Send(ready('I'))
	}
}

// TestM20AnswersBehindTerminateAreRelayed: what the server still says after the client has said
// Terminate reaches a client that listens.
func TestM20AnswersBehindTerminateAreRelayed(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT 1"), &pgproto3.Terminate{})
		s.expect(`Q "SELECT 1"`, "X")
		s.send(complete("SELECT 1"), ready('I'))
		s.conn.Close()
		c.expect(`C "SELECT 1"`, "Z I")
		if rest := c.expectEnd(); len(rest) != 0 {
			r.t.Errorf("and then %q", rest)
		}
	})
}

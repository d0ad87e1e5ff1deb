package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
)

// TestE5ClientsLeaveTLSWithoutACeremony: libpq closes behind its Terminate without
// waiting for close_notify; others send only close_notify. Neither is an error.
func TestE5ClientsLeaveTLSWithoutACeremony(t *testing.T) {
	for name, leave := range map[string]func(raw net.Conn, secure *tls.Conn){
		"no close_notify":   func(raw net.Conn, _ *tls.Conn) { raw.Close() },
		"only close_notify": func(_ net.Conn, secure *tls.Conn) { secure.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			r := secureRig(t)
			raw := r.conn()
			raw.Write([]byte(sslRequest))
			readFull(t, raw, make([]byte, 1))
			secure := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
			c := &player{peer{t, secure}, pgproto3.NewFrontend(secure, secure)}
			c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app"}})
			back := r.backend()
			s := &scripted{peer{t, back}, pgproto3.NewBackend(back, back)}
			if _, err := s.back.ReceiveStartupMessage(); err != nil {
				t.Fatal(err)
			}
			s.accept()
			c.awaitReady()
			turn(c, s, "SELECT 1")
			c.send(&pgproto3.Terminate{})
			leave(raw, secure)
			s.expect("X")
			if rest := s.expectEnd(); len(rest) != 0 {
				t.Errorf("behind X the server got %q", rest)
			}
			s.conn.Close()
			eventually(t, "the session is gone", func() bool { return len(r.p.Sessions("")) == 0 })
			if log := r.logs.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") || strings.Contains(log, "error=") {
				t.Errorf("an orderly end was logged as an error:\n%s", log)
			}
		})
	}
}

// TestE6TheLastErrorArrives: closing a socket with unread bytes in it resets the
// connection, which destroys what the client has not read yet.
func TestE6TheLastErrorArrives(t *testing.T) {
	onLoops(t, func(r *rig) {
		text := strings.Repeat("x", 256<<10)
		for range 20 {
			c, s := r.login()
			h := r.hold(time.Minute)
			c.send(query(text)) // most of it stays unread
			r.waits()
			if n := r.p.End(shop, proxy.Which{}, "x"); n != 1 {
				r.t.Fatalf("ended %d", n)
			}
			c.expect("E FATAL 57P01")
			c.conn.Close()
			h.Release()
			s.conn.Close()
			eventually(r.t, "the session is gone", func() bool { return len(r.p.Sessions("")) == 0 })
		}
	})
}

// poorListener has no descriptors for a while.
type poorListener struct {
	*memoryListener
	mu   sync.Mutex
	left int
}

func (l *poorListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	poor := l.left > 0
	l.left--
	l.mu.Unlock()
	if poor {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.memoryListener.Accept()
}

func TestE8OutOfDescriptors(t *testing.T) {
	inMemory(t, func(r *rig) {
		const refusals = 700 // of 10 ms: 7 s, and one line in the log for each 5 s
		ln := &poorListener{memoryListener: newMemoryListener(), left: refusals}
		r.dial = ln.dial
		served := make(chan error, 1)
		begin := time.Now()
		ctx, stop := context.WithCancel(context.Background())
		go func() { served <- r.p.Serve(ctx, ln) }()
		c, s := r.login()
		if took := time.Since(begin); took < 7*time.Second || took > 7500*time.Millisecond {
			r.t.Errorf("accepted after %v, want a pause of 10 ms behind each refusal", took)
		}
		turn(c, s, "SELECT 1")
		if n := strings.Count(r.logs.String(), "cannot accept connections for now"); n != 2 {
			r.t.Errorf("%d lines in the log, want 2:\n%s", n, r.logs)
		}
		stop()
		if err := <-served; err != nil {
			r.t.Error(err)
		}
	})
}

// takesCancel lets the server take the next cancel.
func (r *rig) takesCancel() {
	r.t.Helper()
	upstream := r.backend()
	got := make([]byte, len(wantCancel))
	readFull(r.t, upstream, got)
	if string(got) != wantCancel {
		r.t.Errorf("the server got %x", got)
	}
	if n := len(r.p.Sessions("")); n != 1 {
		r.t.Errorf("%d sessions are listed while the cancel has not been taken", n)
	}
	upstream.Close()
	r.gone()
}

// TestE4EndedSessionsStatementIsCancelled: by a policy, by a fault of the client's,
// at a shutdown, and a unit that hangs.
func TestE4EndedSessionsStatementIsCancelled(t *testing.T) {
	for name, ends := range map[string]func(r *rig, c *player, s *scripted){
		"policy": func(r *rig, c *player, s *scripted) {
			s.send(&pgproto3.DataRow{Values: [][]byte{[]byte("1")}})
			c.expect(`D "1"`)
			r.p.End(shop, proxy.Which{Streams: true}, "It read the old version.")
			c.expect("E FATAL 57P01")
		},
		"fault": func(r *rig, c *player, s *scripted) {
			c.conn.Write([]byte("Q\xff\xff\xff\xff"))
			c.expect("E FATAL 08P01")
		},
		"shutdown": func(r *rig, c *player, s *scripted) {
			over := make(chan error, 1)
			go func() { over <- r.p.Shutdown(cancelled()) }()
			r.t.Cleanup(func() {
				if err := <-over; !errors.Is(err, context.Canceled) {
					r.t.Errorf("Shutdown: %v", err)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(r *rig) {
				c, s := r.login()
				c.send(query("SELECT slow"))
				s.expect(`Q "SELECT slow"`)
				ends(r, c, s)
				r.takesCancel()
			})
		})
	}
	t.Run("unit", func(t *testing.T) {
		onBoth(t, func(r *rig) {
			_, s := r.login()
			r.toCanary()
			r.p.Nudge()
			s.expect(moveToCanary)
			r.takesCancel()
		}, func(c *proxy.Config) { c.RetargetLimit = 20 * time.Millisecond })
	})
}

// TestE4ServerThatTakesNoCancel keeps an ended session for a second and no longer.
func TestE4ServerThatTakesNoCancel(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		begin := time.Now()
		r.p.End(shop, proxy.Which{}, "x")
		r.gone()
		if took := time.Since(begin); took > 1100*time.Millisecond {
			r.t.Errorf("listed for %v", took)
		}
		c.expect("E FATAL 57P01")
	})
}

// TestEndedOnlyForWhatStillRuns: a session that is chosen while its transaction reads
// the old version, and has ended it by the time the client could be told, goes on.
func TestEndedOnlyForWhatStillRuns(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		calls := 0
		proxy.EndIf(r.p, shop, func(i proxy.SessionInfo) bool {
			calls++
			return calls == 1
		}, "enough")
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		c.send(query("SELECT 2"))
		s.expect(`Q "SELECT 2"`)
		s.send(complete("SELECT 2"), ready('I'))
		c.expect(`C "SELECT 2"`, "Z I")
	})
}

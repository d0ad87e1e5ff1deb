package proxy_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
	"mzcanary/router"
)

// hearsNothing tells that everybody waits and nothing has come. In memory only.
func (p *peer) hearsNothing(when string) {
	p.t.Helper()
	synctest.Wait()
	p.conn.SetReadDeadline(time.Now().Add(time.Nanosecond))
	var b [256]byte
	if n, err := p.conn.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("%s came %q, %v", when, b[:n], err)
	}
	p.conn.SetReadDeadline(time.Now().Add(time.Hour))
}

// TestC6NextStatementOfATransactionWaitsForACancel: also in a failed one, and on a
// session that is not tracked any more.
func TestC6NextStatementOfATransactionWaitsForACancel(t *testing.T) {
	for name, status := range map[string]byte{"open": 'T', "failed": 'E', "untracked": 'I'} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(r *rig) {
				c, s := r.begin()
				s.accept()
				key := c.awaitKey()
				if name == "untracked" {
					s.send(complete("SELECT 1"))
					c.expect(`C "SELECT 1"`)
				}
				c.send(query("SELECT slow"))
				s.expect(`Q "SELECT slow"`)
				closed := make(chan struct{})
				go func() { r.cancel(key); close(closed) }()
				upstream := r.backend()
				readFull(r.t, upstream, make([]byte, len(wantCancel)))
				s.send(complete("SELECT 1"), ready(status))
				c.expect(`C "SELECT 1"`, "Z "+string(status))
				c.send(query("SELECT 2"))
				s.hearsNothing("with a cancel on its way")
				begin := time.Now()
				s.expect(`Q "SELECT 2"`) // at the end of the wait
				if took := time.Since(begin); took < 90*time.Millisecond || took > 200*time.Millisecond {
					r.t.Errorf("waited %v, want 100 ms", took)
				}
				upstream.Close()
				<-closed
			})
		})
	}
}

// TestC6ASyncIsNotKeptBack: it ends what the cancel is meant for.
func TestC6ASyncIsNotKeptBack(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(&pgproto3.Parse{Query: "SELECT slow"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{})
		s.expect(`P "" "SELECT slow"`, "B", "E", "*pgproto3.Flush")
		closed := make(chan struct{})
		go func() { r.cancel(key); close(closed) }()
		upstream := r.backend()
		readFull(r.t, upstream, make([]byte, len(wantCancel)))
		begin := time.Now()
		c.send(&pgproto3.Sync{})
		s.expect("S")
		if took := time.Since(begin); took > 0 {
			r.t.Errorf("the Sync waited %v", took)
		}
		upstream.Close()
		<-closed
	})
}

// TestC6CancelOfAMessageThatWaitsInATransaction follows the message: only the
// server can make the transaction fail.
func TestC6CancelOfAMessageThatWaitsInATransaction(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		closed := make(chan struct{})
		go func() { r.cancel(key); close(closed) }()
		first := r.backend()
		readFull(r.t, first, make([]byte, len(wantCancel)))
		s.send(complete("SELECT 1"), ready('T'))
		c.expect(`C "SELECT 1"`, "Z T")
		c.send(query("SELECT 2"))
		synctest.Wait()
		r.cancel(key)
		first.Close()
		s.expect(`Q "SELECT 2"`)
		second := r.backend()
		readFull(r.t, second, make([]byte, len(wantCancel)))
		second.Close()
		<-closed
	})
}

// TestI1I3HalfANoticeOpensNoGate: nothing passes a closed gate while half an
// asynchronous message has come, nothing is injected beside it, and it is in
// no hold's way.
func TestI1I3HalfANoticeOpensNoGate(t *testing.T) {
	for name, m := range map[string]pgproto3.BackendMessage{
		"notice":       &pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "hello"},
		"parameter":    &pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"},
		"notification": &pgproto3.NotificationResponse{Channel: "c", Payload: "p"},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(r *rig) {
				c, s := r.login()
				half, _ := m.Encode(nil)
				h := r.hold(time.Minute)
				h.Gather(r.t.Context())
				s.conn.Write(half[:8])
				synctest.Wait()
				if report := h.Gather(cancelled()); !report.Complete() || report.Held != 1 || !h.Pin() {
					r.t.Errorf("report %+v", report)
				}
				c.send(query("SELECT 1"))
				s.hearsNothing("through the closed gate")
				r.toCanary()
				h.Release()
				s.hearsNothing("beside half a message")
				s.conn.Write(half[8:])
				s.expect(moveToCanary)
				s.moved("prod_deploy")
				s.expect(`Q "SELECT 1"`)
			})
		})
	}
}

// pinner is a log handler that pins the hold at the moment in which its lease has
// run out.
type pinner struct{ pin func(message string) }

func (p pinner) Enabled(context.Context, slog.Level) bool      { return true }
func (p pinner) Handle(_ context.Context, r slog.Record) error { p.pin(r.Message); return nil }
func (p pinner) WithAttrs([]slog.Attr) slog.Handler            { return p }
func (p pinner) WithGroup(string) slog.Handler                 { return p }

// TestLeaseThatRanOutCannotBePinned: Pin says no as soon as it is decided that
// the gates open.
func TestLeaseThatRanOutCannotBePinned(t *testing.T) {
	var h *proxy.Hold
	pinned, asked := false, false
	inMemory(t, func(r *rig) {
		c, s := r.login()
		h = r.hold(time.Second)
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		if !asked || pinned {
			r.t.Errorf("asked %v, pinned %v: the gates are open", asked, pinned)
		}
	}, func(c *proxy.Config) {
		c.Log = slog.New(pinner{func(message string) {
			if message == "the lease of a hold ran out: its sessions go on" {
				asked, pinned = true, h.Pin()
			}
		}})
	})
}

// TestSpreadReleaseLeavesTheNextHoldAlone: a hold that begins while the last one
// still lets its sessions on keeps those that have not gone.
func TestSpreadReleaseLeavesTheNextHoldAlone(t *testing.T) {
	const n = 100 // four batches
	inMemory(t, func(r *rig) {
		m := newMill(r)
		all := loginAll(r.t, n, r.dial)
		h := r.hold(time.Minute)
		for _, c := range all {
			c.send(queryMessage("SELECT 1"))
		}
		r.allWait(n)
		released := make(chan proxy.Stall, 1)
		go func() { released <- h.Release() }()
		synctest.Wait() // the first batch has gone
		gone := int(m.queries.Load())
		next := r.hold(time.Minute)
		if report := next.Gather(r.t.Context()); !report.Complete() || report.Held != n || !next.Pin() || gone == 0 || gone == n {
			r.t.Errorf("%d have gone, report %+v", gone, report)
		}
		if stall := <-released; stall.Sessions != gone {
			r.t.Errorf("stall %+v, want %d sessions", stall, gone)
		}
		synctest.Wait()
		if got := int(m.queries.Load()); got != gone {
			r.t.Errorf("%d statements went through the next hold", got-gone)
		}
		if stall := next.Release(); stall.Sessions != n-gone {
			r.t.Errorf("stall %+v, want %d sessions", stall, n-gone)
		}
		for _, c := range all {
			c.await()
			c.quit()
		}
		r.gone()
	}, func(c *proxy.Config) { c.ReleaseSpread = spreadOver(time.Second) })
}

// TestReleaseDoesNotWaitForWhoHasGone: of the sessions whose turn had not come,
// those that have ended and those whose message was cancelled keep nobody waiting.
func TestReleaseDoesNotWaitForWhoHasGone(t *testing.T) {
	const n = 64
	inMemory(t, func(r *rig) {
		newMill(r)
		all := loginAll(r.t, n, r.dial)
		h := r.hold(time.Minute)
		for _, c := range all {
			c.send(queryMessage("SELECT 1"))
		}
		r.allWait(n)
		begin, released := time.Now(), make(chan time.Time, 1)
		go func() { h.Release(); released <- time.Now() }()
		synctest.Wait()
		for _, c := range all {
			c.conn.Close()
		}
		synctest.Wait()
		if took := (<-released).Sub(begin); took > 110*time.Millisecond {
			r.t.Errorf("the release took %v, want the spread of 100 ms", took)
		}
		r.gone()
	}, func(c *proxy.Config) { c.ReleaseSpread = spreadOver(200 * time.Millisecond) })
}

// openCursor brings a session into a transaction that consumes a cursor.
func openCursor(c *player, s *scripted) {
	for _, q := range [][2]string{{"BEGIN", "BEGIN"}, {"DECLARE c CURSOR FOR SELECT 1", "DECLARE CURSOR"}, {"FETCH 1 c", "FETCH 1"}} {
		inTransaction(c, s, q[0], q[1])
	}
}

func inTransaction(c *player, s *scripted, text, tag string) {
	c.t.Helper()
	c.send(query(text))
	s.expect(show(query(text)))
	s.send(complete(tag), ready('T'))
	c.expect(show(complete(tag)), "Z T")
}

// TestHoldLetsACursorBeReadAndNothingElse: what else a transaction wants that
// counts as streaming would look names up beside the swap.
func TestHoldLetsACursorBeReadAndNothingElse(t *testing.T) {
	for name, other := range map[string][]pgproto3.FrontendMessage{
		"Query":           {query("SELECT v FROM answer")},
		"FETCH and more":  {query("FETCH 1 c; SELECT v FROM answer")},
		"batch":           {&pgproto3.Parse{Query: "SELECT v FROM answer"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}},
		"prepared before": {&pgproto3.Bind{PreparedStatement: "s1"}, &pgproto3.Execute{}, &pgproto3.Sync{}},
		"unnamed before":  {&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}},
		"pipelined":       {query("SELECT v FROM answer"), query("COMMIT")},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(r *rig) {
				c, s := r.login()
				openCursor(c, s)
				h := r.hold(time.Minute)
				report := h.Gather(r.t.Context())
				if !report.Complete() || len(report.Streaming) != 1 || !h.Pin() {
					r.t.Fatalf("report %+v", report)
				}
				inTransaction(c, s, "FETCH 1 c", "FETCH 1")
				c.send(&pgproto3.Parse{Query: "FETCH 2 FROM c"}, &pgproto3.Bind{}, &pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{}, &pgproto3.Sync{})
				s.expect(`P "" "FETCH 2 FROM c"`, "B", "*pgproto3.Describe", "E", "S")
				s.send(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{}, &pgproto3.NoData{}, complete("FETCH 0"), ready('T'))
				c.expect("*pgproto3.ParseComplete", "*pgproto3.BindComplete", "*pgproto3.NoData", `C "FETCH 0"`, "Z T")
				inTransaction(c, s, "CLOSE c", "CLOSE CURSOR")
				c.send(other...)
				s.hearsNothing("beside the cursor, during a complete and pinned hold,")
				if report := h.Gather(cancelled()); !report.Complete() {
					r.t.Errorf("report %+v", report)
				}
				if i := r.session(); i.Why != "its message waits at the closed gate" {
					r.t.Errorf("why %q", i.Why)
				}
				h.Release() // no swap: it goes on as if nothing had been
				s.expect(show(other[0]))
			})
		})
	}
}

// TestHoldLetsACursorsTransactionEnd: the transaction's end passes, and the session is held then.
func TestHoldLetsACursorsTransactionEnd(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		openCursor(c, s)
		h := r.hold(time.Minute)
		h.Gather(r.t.Context())
		c.send(query("COMMIT"), query("SELECT 1"))
		s.expect(`Q "COMMIT"`)
		s.send(complete("COMMIT"), ready('I'))
		c.expect(`C "COMMIT"`, "Z I")
		s.hearsNothing("behind the transaction")
		if report := h.Gather(r.t.Context()); report.Held != 1 {
			r.t.Errorf("report %+v", report)
		}
		h.Release()
		s.expect(`Q "SELECT 1"`)
	})
}

// TestCursorThatCrossedASwap: behind a swap its transaction may read the cursor to
// its end, and is ended when it asks for more: it would read both versions.
func TestCursorThatCrossedASwap(t *testing.T) {
	for name, outcome := range map[string]func(*router.Deployment){
		"swapped": func(d *router.Deployment) { d.Swaps++; d.Canary, d.Weight = router.CanaryClosed, 0 },
		"unknown": func(d *router.Deployment) { d.Canary = router.CanaryLive },
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(r *rig) {
				c, s := r.login()
				other, so := r.login("user", "other")
				openCursor(c, s)
				openCursor(other, so)
				h := r.hold(time.Minute)
				if report := h.Gather(r.t.Context()); !report.Complete() || !h.Pin() {
					r.t.Fatalf("report %+v", report)
				}
				r.route(outcome)
				h.Release()
				inTransaction(c, s, "FETCH 1 c", "FETCH 1")
				c.send(query("FETCH 1 c"), query("SELECT v FROM answer"))
				s.expect(`Q "FETCH 1 c"`)
				s.send(complete("FETCH 1"), ready('T'))
				c.expect(`C "FETCH 1"`, "Z T", "E FATAL 40001")

				// The next transaction is like any other.
				other.send(query("COMMIT"), query("BEGIN"))
				so.expect(`Q "COMMIT"`)
				so.send(complete("COMMIT"), ready('I'))
				so.expect(`Q "BEGIN"`)
				so.send(complete("BEGIN"), ready('T'))
				other.expect(`C "COMMIT"`, "Z I", `C "BEGIN"`, "Z T")
				inTransaction(other, so, "SELECT v FROM answer", "SELECT 1")
			})
		})
	}
}

func spreadOver(d time.Duration) func(string) time.Duration {
	return func(string) time.Duration { return d }
}

// TestHoldNamesItsCulprits: the log says who keeps a hold from gathering, what it
// runs and since when, the oldest first and no more than five.
func TestHoldNamesItsCulprits(t *testing.T) {
	inMemory(t, func(r *rig) {
		for i := range 7 {
			c, s := r.login("user", "u"+strconv.Itoa(i), "application_name", "shop")
			c.send(query("/* pool */ SELECT slow"))
			s.expect(`Q "/* pool */ SELECT slow"`)
			time.Sleep(time.Second)
		}
		h := r.hold(time.Minute)
		defer h.Release()
		h.Gather(cancelled())
		var lines []string
		for line := range strings.Lines(r.logs.String()) {
			if strings.Contains(line, "keeps a hold from gathering") {
				lines = append(lines, line)
			}
		}
		if len(lines) != 5 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "user=u0 application=shop") ||
			!strings.Contains(lines[0], `statement=SELECT age=7s why="SELECT is running"`) || !strings.Contains(lines[0], "in_all=7") || !strings.Contains(lines[4], "user=u4 ") {
			r.t.Errorf("lines %q", lines)
		}
	})
}

// TestSessionHasTwoLines in the log at level info, or at level debug where that
// is configured.
func TestSessionHasTwoLines(t *testing.T) {
	for level, quiet := range map[string]bool{"INFO": false, "DEBUG": true} {
		t.Run(level, func(t *testing.T) {
			inMemory(t, func(r *rig) {
				c, s := r.login("application_name", "shop")
				turn(c, s, "SELECT 1")
				c.send(&pgproto3.Terminate{})
				s.expect("X")
				s.conn.Close()
				c.expectEnd()
				synctest.Wait()
				lines := slices.Collect(strings.Lines(r.logs.String()))
				if len(lines) != 2 || !strings.Contains(lines[0], "level="+level+` msg="session begins"`) || !strings.Contains(lines[0], "user=app application=shop client=") ||
					!strings.Contains(lines[1], "level="+level+` msg="session ended"`) || !strings.Contains(lines[1], " for=0s exchanges=1 errors=0 retargets=0") {
					r.t.Errorf("lines %q", lines)
				}
			}, func(c *proxy.Config) { c.QuietSessions = quiet })
		})
	}
}

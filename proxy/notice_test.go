package proxy_test

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
	"mzcanary/router"
)

const replaced = "this session still reads the version that was replaced"

// swapped lets whoever runs something run it on the old version.
func (r *rig) swapped() { r.route(func(d *router.Deployment) { d.Swaps++ }) }

// notify tells sessions on the old version.
func (r *rig) notify(want int) {
	r.t.Helper()
	if n := r.p.Notify(shop, proxy.Which{Old: true}, replaced); n != want {
		r.t.Errorf("told %d sessions, want %d", n, want)
	}
}

func (c *player) expectNotice() {
	c.t.Helper()
	m, err := c.front.Receive()
	if err != nil {
		c.t.Fatalf("the client waits for a notice: %v", err)
	}
	n, ok := m.(*pgproto3.NoticeResponse)
	if !ok || n.Severity != "NOTICE" || n.SeverityUnlocalized != "NOTICE" || n.Code != "00000" || n.Message != "mzcanary: "+replaced {
		c.t.Fatalf("the client got %s: %+v", show(m), m)
	}
}

func row(text string) *pgproto3.DataRow { return &pgproto3.DataRow{Values: [][]byte{[]byte(text)}} }

// A stream in which nothing moves is told all the same; whoever is not on the old
// version is left alone.
func TestNoticeToASilentStream(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		idle, is := r.login("user", "idle")
		c.send(query("SUBSCRIBE t"))
		s.expect(`Q "SUBSCRIBE t"`)
		s.send(row("1"))
		c.expect(`D "1"`)
		r.notify(0)
		r.swapped()
		r.notify(1)
		c.expectNotice()
		s.send(row("2"), complete("SUBSCRIBE"), ready('I'))
		c.expect(`D "2"`, `C "SUBSCRIBE"`, "Z I")
		turn(c, s, "SELECT 1")
		turn(idle, is, "SELECT 1")
		if n := r.p.Notify(shop, proxy.Which{}, replaced); n != 2 {
			r.t.Errorf("told %d sessions of 2", n)
		}
		idle.expectNotice()
		c.expectNotice()
	})
}

func TestNoticeInsideAMessage(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("COPY t TO STDOUT"))
		s.expect(`Q "COPY t TO STDOUT"`)
		s.send(&pgproto3.CopyOutResponse{})
		c.expect("*pgproto3.CopyOutResponse")
		raw, err := (&pgproto3.CopyData{Data: bytes.Repeat([]byte("x"), 1000)}).Encode(nil)
		if err != nil {
			r.t.Fatal(err)
		}
		for cut := 1; cut < len(raw); cut += 333 {
			s.conn.Write(raw[:cut])
			var before uint64
			r.becomes("half way", func(i proxy.SessionInfo) bool {
				moved := i.BytesOut != before
				before = i.BytesOut
				return !moved
			})
			time.Sleep(10 * time.Millisecond) // the half message is on its way through the proxy
			if cut == 1 {
				r.swapped()
			}
			r.notify(1)
			time.Sleep(10 * time.Millisecond)
			s.conn.Write(raw[cut:])
			c.expect("d 1000")
			c.expectNotice()
		}
		s.send(&pgproto3.CopyDone{}, complete("COPY 3"), ready('I'))
		c.expect("*pgproto3.CopyDone", `C "COPY 3"`, "Z I")
	})
}

// What is over before the word can be said makes it untrue.
func TestNoticeThatComesTooLate(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		raw, err := row("1").Encode(nil)
		if err != nil {
			r.t.Fatal(err)
		}
		s.conn.Write(raw[:3])
		time.Sleep(10 * time.Millisecond)
		r.swapped()
		r.notify(1)
		time.Sleep(10 * time.Millisecond)
		raw = raw[3:]
		for _, m := range []pgproto3.BackendMessage{complete("SELECT 1"), ready('I')} {
			if raw, err = m.Encode(raw); err != nil {
				r.t.Fatal(err)
			}
		}
		s.conn.Write(raw)
		c.expect(`D "1"`, `C "SELECT 1"`, "Z I")
		turn(c, s, "SELECT 1")
	})
}

// Between pipelined answers, in a transaction and behind an error only when the
// exchange is over.
func TestNoticeBetweenAnswers(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("BEGIN"), query("SELECT 1"), query("SELECT 2"))
		s.expect(`Q "BEGIN"`, `Q "SELECT 1"`, `Q "SELECT 2"`)
		s.send(complete("BEGIN"), ready('T'))
		c.expect(`C "BEGIN"`, "Z T")
		r.swapped()
		r.notify(1)
		c.expectNotice()
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX000"})
		c.expect("E ERROR XX000")
		r.notify(1)
		time.Sleep(10 * time.Millisecond)
		s.send(ready('E'))
		c.expect("Z E")
		c.expectNotice()
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "25P02"}, ready('E'))
		c.expect("E ERROR 25P02", "Z E")
	})
}

func TestNoticeIsNotForTheStart(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.send(&pgproto3.AuthenticationOk{})
		c.expect("*pgproto3.AuthenticationOk")
		r.swapped()
		if n := r.p.Notify("", proxy.Which{}, replaced); n != 0 {
			r.t.Errorf("told %d sessions that log in", n)
		}
		s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "prod"}, &pgproto3.ParameterStatus{Name: "search_path", Value: "prod"}, ready('I'))
		c.expect("S cluster=prod", "S search_path=prod", "Z I")
		turn(c, s, "SELECT 1")
	})
}

// A client that does not read keeps nobody waiting, and its session can be ended.
func TestNoticeToAClientThatDoesNotRead(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SUBSCRIBE t"))
		s.expect(`Q "SUBSCRIBE t"`)
		block := append([]byte{'d', 0, 0x10, 0, 4}, make([]byte, 1<<20)...)
		s.conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		for {
			if _, err := s.conn.Write(block); err != nil {
				break
			}
		}
		r.swapped()
		for range 50 {
			r.notify(1)
		}
		if n := r.p.End(shop, proxy.Which{Old: true}, "x"); n != 1 {
			r.t.Errorf("ended %d", n)
		}
		for begin := time.Now(); len(r.p.Sessions("")) != 0; time.Sleep(time.Millisecond) {
			if time.Since(begin) > 5*time.Second {
				r.t.Fatal("the session does not end")
			}
		}
	})
}

// Notices from all sides into a stream that is cut anywhere: every message arrives
// whole and in order.
func TestNoticesIntoARunningStream(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SUBSCRIBE t"))
		s.expect(`Q "SUBSCRIBE t"`)
		const rows = 2000
		var raw []byte
		var err error
		for i := range rows {
			if raw, err = row(string(bytes.Repeat([]byte{byte('a' + i%26)}, i%300))).Encode(raw); err != nil {
				r.t.Fatal(err)
			}
		}
		r.swapped()
		var writers sync.WaitGroup
		writers.Go(func() {
			random := rand.New(rand.NewPCG(1, 2))
			for rest := raw; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(700))
				if _, err := s.conn.Write(rest[:n]); err != nil {
					r.t.Error(err)
					return
				}
				rest = rest[n:]
			}
		})
		for range 3 {
			writers.Go(func() {
				for range 100 {
					r.p.Notify(shop, proxy.Which{Old: true}, replaced)
					time.Sleep(100 * time.Microsecond)
				}
			})
		}
		notices := 0
		for i := 0; i < rows; {
			m, err := c.front.Receive()
			if err != nil {
				r.t.Fatalf("row %d: %v", i, err)
			}
			switch m := m.(type) {
			case *pgproto3.NoticeResponse:
				notices++
			case *pgproto3.DataRow:
				if len(m.Values) != 1 || !bytes.Equal(m.Values[0], bytes.Repeat([]byte{byte('a' + i%26)}, i%300)) {
					r.t.Fatalf("row %d is %q", i, m.Values)
				}
				i++
			default:
				r.t.Fatalf("row %d: %s", i, show(m))
			}
		}
		writers.Wait()
		// How many found a boundary on the way is a matter of how the reads fell; the
		// last one does at the latest when all is said.
		for notices == 0 {
			m, err := c.front.Receive()
			if err != nil {
				r.t.Fatalf("no notice in all of the stream: %v", err)
			}
			if _, ok := m.(*pgproto3.NoticeResponse); ok {
				notices++
			}
		}
		c.conn.Close()
	})
}

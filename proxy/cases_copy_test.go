package proxy_test

import (
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
)

// TestM7CopyOnPostgres: COPY FROM STDIN by both protocols, with every way in which it can
// end, on a real server: the session can be moved at once behind it. Drivers send the
// Sync together with the Execute, so that it is in flight when the server answers.
func TestM7CopyOnPostgres(t *testing.T) {
	s := onPostgres(t)
	good, bad := &pgproto3.CopyData{Data: []byte("1\tx\n")}, &pgproto3.CopyData{Data: []byte("1\tx\nno number\tx\n")}
	done, fail, sync := &pgproto3.CopyDone{}, &pgproto3.CopyFail{Message: ""}, &pgproto3.Sync{}
	const text = "COPY notes FROM STDIN"
	protocols := map[string]struct {
		begin []pgproto3.FrontendMessage
		end   []pgproto3.FrontendMessage // behind the data
	}{
		"simple": {begin: []pgproto3.FrontendMessage{query(text)}},
		"extended": {
			begin: []pgproto3.FrontendMessage{&pgproto3.Parse{Query: text}, &pgproto3.Bind{}, &pgproto3.Execute{}, sync},
			end:   []pgproto3.FrontendMessage{sync},
		},
	}
	for protocol, p := range protocols {
		for name, c := range map[string]struct {
			data  []pgproto3.FrontendMessage
			await bool // the error, before the end is sent
			last  []pgproto3.FrontendMessage
			next  bool // the next statement is sent at once
			code  string
		}{
			"ok":                        {data: []pgproto3.FrontendMessage{good}, last: []pgproto3.FrontendMessage{done}},
			"refused before its end":    {data: []pgproto3.FrontendMessage{bad}, await: true, last: []pgproto3.FrontendMessage{good, done}, code: "22P02"},
			"refused behind its end":    {data: []pgproto3.FrontendMessage{bad}, last: []pgproto3.FrontendMessage{done}, code: "22P02"},
			"refused, and on at once":   {data: []pgproto3.FrontendMessage{good, bad}, last: []pgproto3.FrontendMessage{done}, next: true, code: "22P02"},
			"given up":                  {data: []pgproto3.FrontendMessage{good}, last: []pgproto3.FrontendMessage{fail}, code: "57014"},
			"given up, and on at once":  {data: []pgproto3.FrontendMessage{good}, last: []pgproto3.FrontendMessage{fail}, next: true, code: "57014"},
			"given up without any data": {last: []pgproto3.FrontendMessage{fail}, next: true, code: "57014"},
		} {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				s.weigh(0)
				cl := s.player()
				cl.send(p.begin...)
				cl.until("*pgproto3.CopyInResponse")
				got := ""
				cl.send(c.data...)
				if c.await {
					got = cl.until("E ERROR " + c.code)
				}
				rest := append(append([]pgproto3.FrontendMessage{}, c.last...), p.end...)
				wanted := 1
				if c.next {
					rest = append(rest, query("SELECT 'next'"))
					wanted++
				}
				cl.send(rest...)
				for range wanted {
					got += cl.until("Z I")
				}
				if hasError := got != ""; hasError != (c.code != "") || hasError && got != c.code {
					t.Errorf("error %q, want %q", got, c.code)
				}
				s.weigh(100)
				cl.send(query("SELECT version FROM answer WHERE k = 1"))
				cl.until(`D "new"`)
				cl.until("Z I")
				if i := s.p.Sessions(shop); len(i) != 1 || !i[0].Moved || i[0].Place != proxy.PlaceBoundary {
					t.Errorf("sessions %+v", i)
				}
				cl.send(&pgproto3.Terminate{})
				cl.expectEnd()
				eventually(t, "the session is gone", func() bool { return len(s.p.Sessions("")) == 0 })
			})
		}
		t.Run(protocol+"/hung up", func(t *testing.T) {
			cl := s.player()
			cl.send(p.begin...)
			cl.until("*pgproto3.CopyInResponse")
			cl.send(good)
			cl.conn.Close()
			eventually(t, "the session is gone", func() bool { return len(s.p.Sessions("")) == 0 })
		})
	}
	for reason := range map[string]bool{"copy_failed_with_sync_in_flight": true, "message_inside_copy": true, "unexpected_answer": true, "ready_not_owed": true} {
		if n := metric(t, s.p, "mzcanary_untrackable_sessions_total", reason); n != 0 {
			t.Errorf("%v sessions could not be tracked: %s", n, reason)
		}
	}
}

// player is a client of the stand that speaks message by message, logged in.
func (s *stand) player() *player {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(guard))
	c := &player{peer{s.t, conn}, pgproto3.NewFrontend(conn, conn)}
	c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "postgres", "database": "postgres", "search_path": "prod"}})
	c.awaitReady()
	return c
}

// until reads up to a message, and gives the code of an error on the way or of itself.
func (c *player) until(want string) (code string) {
	c.t.Helper()
	for {
		m, err := c.front.Receive()
		if err != nil {
			c.t.Fatalf("the client waits for %s: %v", want, err)
		}
		if e, ok := m.(*pgproto3.ErrorResponse); ok {
			code = e.Code
		}
		if show(m) == want {
			return code
		}
	}
}

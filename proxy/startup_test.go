package proxy_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/prometheus/client_golang/prometheus"

	"mzcanary/proxy"
	"mzcanary/router"
)

// packet is a start-up packet: length, code, body.
func packet(code uint32, body string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return string(binary.BigEndian.AppendUint32(b, code)) + body
}

// metric reads one counter of the proxy.
func metric(t testing.TB, p *proxy.Proxy, name string, labels ...string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(p.Collector())
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			match := true
			for i, l := range m.GetLabel() {
				match = match && i < len(labels) && l.GetValue() == labels[i]
			}
			if match {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s%v", name, labels)
	return 0
}

func TestS5S8S9BadStartUps(t *testing.T) {
	user := "user\x00app\x00\x00"
	for _, c := range []struct {
		name, send, want, kind string
		closeEarly             bool
	}{
		{name: "http", send: "GET / HTTP/1.1\r\n\r\n", want: "HTTP/1.0 400", kind: "http"},
		{name: "tls not offered", send: "\x16\x03\x01\x02\x00\x01", want: "", kind: "direct_tls"},
		{name: "protocol 2", send: packet(2<<16, "app"), want: "C0A000", kind: "protocol_version"},
		{name: "protocol 1", send: packet(1<<16, "app"), want: "C0A000", kind: "protocol_version"},
		{name: "2 GB", send: "\x7f\xff\xff\xff\x00\x03\x00\x00", want: "C53400", kind: "startup_too_long"},
		{name: "negative length", send: "\xff\xff\xff\xff\x00\x03\x00\x00", want: "C53400", kind: "startup_too_long"},
		{name: "length 3", send: "\x00\x00\x00\x03\x00\x03\x00\x00", want: "C08P01", kind: "bad_startup"},
		{name: "no terminator", send: packet(3<<16, "user\x00app\x00"), want: "C08P01", kind: "bad_startup"},
		{name: "half a packet", send: packet(3<<16, user)[:10], want: "C08P01", kind: "bad_startup", closeEarly: true},
		{name: "nothing", send: "", want: "", kind: "probe", closeEarly: true},
		{name: "two SSLRequests", send: packet(80877103, "") + packet(80877103, ""), want: "NE", kind: "duplicate_ssl_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			onPlain(t, func(r *rig) {
				conn := r.conn()
				if _, err := conn.Write([]byte(c.send)); err != nil {
					r.t.Fatal(err)
				}
				if c.closeEarly {
					conn.(interface{ CloseWrite() error }).CloseWrite()
				}
				got := string((&peer{r.t, conn}).expectEnd())
				if !strings.Contains(got, c.want) || c.want == "" && got != "" {
					r.t.Errorf("answered %q, want %q in it", got, c.want)
				}
				if n := metric(r.t, r.p, "mzcanary_startup_failures_total", c.kind); n != 1 {
					r.t.Errorf("failures of kind %s: %v, want 1", c.kind, n)
				}
			})
		})
	}
}

func TestS10SilenceIsClosedAtTheDeadline(t *testing.T) {
	for name, send := range map[string]string{"nothing at all": "", "half a packet": "\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(r *rig) {
				begin := time.Now()
				conn := r.conn()
				conn.Write([]byte(send))
				got := string((&peer{r.t, conn}).expectEnd())
				if took := time.Since(begin); took < 10*time.Second || took > 12*time.Second {
					r.t.Errorf("closed after %v, want 10 s", took)
				}
				if !strings.Contains(got, "C08006") {
					r.t.Errorf("answered %q", got)
				}
				if n := metric(r.t, r.p, "mzcanary_startup_failures_total", "startup_deadline"); n != 1 {
					r.t.Errorf("counted %v", n)
				}
			})
		})
	}
}

func TestS10SilenceInTheLoginIsClosedAtTheDeadline(t *testing.T) {
	inMemory(t, func(r *rig) {
		begin := time.Now()
		c, s := r.begin()
		s.send(&pgproto3.AuthenticationCleartextPassword{})
		c.front.Receive()
		c.expect("E FATAL 08006")
		if took := time.Since(begin); took < 10*time.Second || took > 11*time.Second {
			r.t.Errorf("closed after %v, want 10 s", took)
		}
		c.expectEnd()
		if n := metric(r.t, r.p, "mzcanary_startup_failures_total", "startup_deadline"); n != 1 {
			r.t.Errorf("counted %v", n)
		}
	})
}

func TestS2S23StartUpInSingleBytes(t *testing.T) {
	onPlain(t, func(r *rig) {
		conn := r.conn()
		body := "user\x00app\x00database\x00materialize\x00\x00"
		for _, b := range []byte(packet(80877104, "") + packet(80877103, "") + packet(3<<16, body)) {
			if _, err := conn.Write([]byte{b}); err != nil {
				r.t.Fatal(err)
			}
		}
		answers := make([]byte, 2)
		readFull(r.t, conn, answers)
		if string(answers) != "NN" {
			r.t.Errorf("GSSENCRequest and SSLRequest were answered %q", answers)
		}
		got := make([]byte, 8+len(body))
		readFull(r.t, r.backend(), got)
		if string(got) != packet(3<<16, body) {
			r.t.Errorf("the server got %q", got)
		}
	})
}

func TestS6S18StartUpIsRelayedByteForByte(t *testing.T) {
	onBoth(t, func(r *rig) {
		conn := r.conn()
		before := "user\x00app\x00search_path\x00prod\x00search_path\x00\"pr\xffod\", x\x00"
		options := "options\x00-c a=b\\ c --cluster=prod\x00"
		conn.Write([]byte(packet(3<<16, before+"mz_forwarded_for\x001.2.3.4\x00mzcanary.arm\x00stable\x00"+options+"\x00")))
		want := packet(3<<16, before+options+"\x00")
		got := make([]byte, len(want))
		readFull(r.t, r.backend(), got)
		if string(got) != want {
			r.t.Errorf("the server got %q, want %q", got, want)
		}
	})
}

func TestS7NewerProtocolIsNegotiated(t *testing.T) {
	onBoth(t, func(r *rig) {
		conn := r.conn()
		conn.Write([]byte(packet(3<<16|2, "user\x00app\x00_pq_.grease\x001\x00\x00")))
		want := "v\x00\x00\x00\x18\x00\x03\x00\x00\x00\x00\x00\x01_pq_.grease\x00"
		got := make([]byte, len(want))
		readFull(r.t, conn, got)
		if string(got) != want {
			r.t.Errorf("negotiated %q, want %q", got, want)
		}
		up := packet(3<<16, "user\x00app\x00\x00")
		got = make([]byte, len(up))
		readFull(r.t, r.backend(), got)
		if string(got) != up {
			r.t.Errorf("the server got %q, want %q", got, up)
		}
	})
}

func TestS11ServerRefusesTheLogin(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "invalid password"})
		s.conn.Close()
		c.expect("E FATAL 28P01")
		if rest := c.expectEnd(); len(rest) != 0 {
			r.t.Errorf("behind the server's error came %q", rest)
		}
	})
}

func TestServerCannotBeReached(t *testing.T) {
	onBoth(t, func(r *rig) {
		conn := r.conn()
		conn.Write([]byte(packet(3<<16, "user\x00app\x00\x00")))
		got := string((&peer{r.t, conn}).expectEnd())
		if !strings.Contains(got, "C08001") || !strings.Contains(got, "mzcanary: the server cannot be reached") {
			r.t.Errorf("answered %q", got)
		}
		if n := metric(r.t, r.p, "mzcanary_startup_failures_total", "upstream_down"); n != 1 {
			r.t.Errorf("counted %v", n)
		}
	}, func(c *proxy.Config) {
		c.Dial = func(context.Context) (net.Conn, error) { return nil, errors.New("connection refused") }
	})
}

func TestLimits(t *testing.T) {
	refused := func(r *rig, user, want string) {
		r.t.Helper()
		conn := r.conn()
		conn.Write([]byte(packet(3<<16, "user\x00"+user+"\x00\x00")))
		if got := string((&peer{r.t, conn}).expectEnd()); !strings.Contains(got, "C53300") || !strings.Contains(got, want) {
			r.t.Errorf("answered %q, want %q in it", got, want)
		}
	}
	onBoth(t, func(r *rig) {
		first, back := r.login("user", "app")
		refused(r, "app", "too many sessions of this user")
		r.login("user", "other")
		refused(r, "third", "too many sessions")
		first.send(&pgproto3.Terminate{})
		back.expect("X")
		back.conn.Close()
		first.expectEnd()
		r.login("user", "app") // its place is free again
	}, func(c *proxy.Config) { c.Limits.MaxSessions, c.Limits.PerUser = 2, 1 })
}

func TestAskedArm(t *testing.T) {
	arm := func(value string) []string { return []string{"options", "-c mzcanary.arm=" + value} }
	onBoth(t, func(r *rig) { // there is a canary
		c, s := r.begin(arm("canary")...)
		s.accept()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		c.awaitReady()
		turn(c, s, "SELECT 1")
		if i := r.session(); i.Fixed != "option" || i.Arm != router.Canary {
			r.t.Errorf("session %+v", i)
		}
		r.route(func(d *router.Deployment) { d.Canary = router.CanaryClosed })
		for asked, code := range map[string]string{"canary": "08004", "blue": "22023"} {
			c, s := r.begin(arm(asked)...)
			s.accept()
			for {
				m, err := c.front.Receive()
				if err != nil {
					r.t.Fatal(err)
				}
				if _, ok := m.(*pgproto3.ReadyForQuery); ok {
					r.t.Fatalf("mzcanary.arm=%s was let in", asked)
				}
				if e, ok := m.(*pgproto3.ErrorResponse); ok {
					if e.Code != code || e.Severity != "FATAL" {
						r.t.Errorf("mzcanary.arm=%s: %+v", asked, e)
					}
					break
				}
			}
			c.expectEnd()
		}
	})
}

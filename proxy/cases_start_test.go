package proxy_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
)

const sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

// secureRig is a rig over TCP that offers TLS to clients.
func secureRig(t *testing.T, changes ...change) *rig {
	t.Helper()
	t.Cleanup(leaks(t)) // runs last
	cert := certificate(t)
	return newRig(t, false, append(changes, func(c *proxy.Config) {
		c.ClientTLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	})...)
}

func noBackend(r *rig) {
	r.t.Helper()
	if n := len(r.backends); n != 0 {
		r.t.Errorf("%d connections to the server, want none", n)
	}
}

func TestS1BytesStuffedBehindTheSSLRequest(t *testing.T) {
	r := secureRig(t)
	conn := r.conn()
	if _, err := conn.Write([]byte(sslRequest + packet(3<<16, "user\x00app\x00\x00"))); err != nil {
		t.Fatal(err)
	}
	got := (&peer{t, conn}).expectEnd()
	if len(got) == 0 || got[0] != 'S' || strings.Contains(string(got), "Z\x00\x00\x00\x05") {
		t.Errorf("answered %q, want S and the end", got)
	}
	noBackend(r)
	if n := metric(t, r.p, "mzcanary_startup_failures_total", "tls_handshake"); n != 1 {
		t.Errorf("handshake failures: %v, want 1", n)
	}
}

func TestS3S4DirectTLS(t *testing.T) {
	r := secureRig(t)
	t.Run("with its name", func(t *testing.T) {
		conn := tls.Client(r.conn(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
		if _, err := conn.Write([]byte(sslRequest)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1)
		readFull(t, conn, answer)
		if answer[0] != 'N' {
			t.Errorf("SSLRequest inside TLS was answered %q, want N", answer)
		}
		up := packet(3<<16, "user\x00app\x00\x00")
		if _, err := conn.Write([]byte(up)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(up))
		readFull(t, r.backend(), got)
		if string(got) != up {
			t.Errorf("the server got %q", got)
		}
		conn.Close()
	})
	t.Run("without it", func(t *testing.T) {
		conn := tls.Client(r.conn(), &tls.Config{InsecureSkipVerify: true})
		conn.Write([]byte(packet(3<<16, "user\x00app\x00\x00")))
		got, _ := io.ReadAll(conn)
		if strings.Contains(string(got), "Z\x00\x00\x00\x05") {
			t.Errorf("answered %q", got)
		}
		noBackend(r)
		if n := metric(t, r.p, "mzcanary_startup_failures_total", "direct_tls"); n != 1 {
			t.Errorf("counted %v, want 1", n)
		}
	})
}

func TestS12MessagesBeforeTheFirstReadyForQuery(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.send(&pgproto3.NoticeResponse{Severity: "NOTICE", Code: "01000", Message: "before the password"}, &pgproto3.AuthenticationOk{})
		c.expect("N 01000")
		s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "prod"}, &pgproto3.ParameterStatus{Name: "search_path", Value: "prod"},
			&pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "connected to Materialize"}, ready('I')) // and no K
		c.front.Receive() // AuthenticationOk
		c.expect("S cluster=prod", "S search_path=prod", "N 00000", "Z I")
		turn(c, s, "SELECT 1")
	})
}

// TestS13ChannelBindingIsNotTouched: the list of mechanisms and the exchange pass as
// they are; a server that offers PLUS finds out itself that it cannot work.
func TestS13ChannelBindingIsNotTouched(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}})
		m, err := c.front.Receive()
		if err != nil {
			r.t.Fatal(err)
		}
		if a, ok := m.(*pgproto3.AuthenticationSASL); !ok || strings.Join(a.AuthMechanisms, " ") != "SCRAM-SHA-256-PLUS SCRAM-SHA-256" {
			r.t.Fatalf("the client was offered %+v", m)
		}
		raw := "p\x00\x00\x00\x2cSCRAM-SHA-256-PLUS\x00\x00\x00\x00\x11p=tls-end,,n=,r=x"
		if _, err := c.conn.Write([]byte(raw)); err != nil {
			r.t.Fatal(err)
		}
		got := make([]byte, len(raw))
		readFull(r.t, s.conn, got)
		if string(got) != raw {
			r.t.Errorf("the server got %q, want %q", got, raw)
		}
		s.send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28000", Message: "SCRAM channel binding check failed"})
		s.conn.Close()
		c.expect("E FATAL 28000")
		if rest := c.expectEnd(); len(rest) != 0 {
			r.t.Errorf("behind the server's error came %q", rest)
		}
	})
}

func TestS14RecordsHoldWholeMessages(t *testing.T) {
	r := secureRig(t)
	conn := r.conn()
	conn.Write([]byte(sslRequest))
	readFull(t, conn, make([]byte, 1))
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := &player{peer{t, secure}, pgproto3.NewFrontend(secure, secure)}
	c.send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "app"}})
	back := r.backend()
	s := &scripted{peer{t, back}, pgproto3.NewBackend(back, back)}
	if _, err := s.back.ReceiveStartupMessage(); err != nil {
		t.Fatal(err)
	}
	s.accept()
	// A Read of crypto/tls gives what one record holds.
	records, ready := 0, false
	for b := make([]byte, 16<<10); !ready; records++ {
		n, err := secure.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		for rest := b[:n]; len(rest) > 0; {
			if len(rest) < 5 || int(binary.BigEndian.Uint32(rest[1:]))+1 > len(rest) {
				t.Fatalf("record %d of the login ends inside a message: %q", records+1, b[:n])
			}
			ready = rest[0] == 'Z'
			rest = rest[1+binary.BigEndian.Uint32(rest[1:]):]
		}
	}
	// The last ReadyForQuery waits until it is decided what the session is.
	if records > 2 {
		t.Errorf("the login came in %d records, want 2 at most", records)
	}
	turn(c, s, "SELECT 1")
	secure.Close()
}

// TestS16TheServerSaysWhichSettingCounts: options and direct pairs pass side by side; what
// the server made of them decides.
func TestS16TheServerSaysWhichSettingCounts(t *testing.T) {
	onBoth(t, func(r *rig) {
		for _, cluster := range []string{"prod", "elsewhere"} {
			conn := r.conn()
			up := packet(3<<16, "user\x00app\x00cluster\x00prod\x00options\x00-c cluster="+cluster+" --search-path=other\x00search_path\x00prod\x00\x00")
			conn.Write([]byte(up))
			back := r.backend()
			got := make([]byte, len(up))
			readFull(r.t, back, got)
			if string(got) != up {
				r.t.Fatalf("the server got %q, want %q", got, up)
			}
			s := &scripted{peer{r.t, back}, pgproto3.NewBackend(back, back)}
			s.send(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "cluster", Value: cluster},
				&pgproto3.ParameterStatus{Name: "search_path", Value: "prod"}, ready('I'))
			p := &player{peer{r.t, conn}, pgproto3.NewFrontend(conn, conn)}
			p.awaitReady()
			if i := r.session(); i.Have.Cluster != cluster {
				r.t.Errorf("the session has cluster %q, want what the server reported, %q", i.Have.Cluster, cluster)
			}
			p.send(&pgproto3.Terminate{})
			s.expect("X")
			s.conn.Close()
			p.expectEnd()
			eventually0(r, "the session is gone", func() bool { return len(r.p.Sessions("")) == 0 })
		}
	})
}

// eventually0 is eventually for a rig, whose time may be simulated.
func eventually0(r *rig, what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(guard); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not in time: %s", what)
		}
	}
}

func TestS17UnknownParametersAreRelayed(t *testing.T) {
	onBoth(t, func(r *rig) {
		conn := r.conn()
		up := packet(3<<16, "user\x00app\x00nonsense\x00 '1' \x00jit\x00off\x00\x00")
		conn.Write([]byte(up))
		back := r.backend()
		got := make([]byte, len(up))
		readFull(r.t, back, got)
		if string(got) != up {
			r.t.Errorf("the server got %q, want %q", got, up)
		}
		s := &scripted{peer{r.t, back}, pgproto3.NewBackend(back, back)}
		s.send(&pgproto3.AuthenticationOk{}, &pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "unrecognized startup parameter"},
			&pgproto3.ParameterStatus{Name: "cluster", Value: "quickstart"}, &pgproto3.ParameterStatus{Name: "search_path", Value: "public"}, ready('I'))
		c := &player{peer{r.t, conn}, pgproto3.NewFrontend(conn, conn)}
		c.front.Receive()
		c.expect("N 00000", "S cluster=quickstart", "S search_path=public", "Z I")
	})
}

func TestS20CancelIsTakenWhereOthersAreNot(t *testing.T) {
	forwarded := func(r *rig, s *scripted, send func(key *pgproto3.BackendKeyData), key *pgproto3.BackendKeyData) {
		t.Helper()
		s.expect(`Q "SELECT slow"`)
		done := make(chan struct{})
		go func() { defer close(done); send(key) }()
		upstream := r.backend()
		got := make([]byte, len(wantCancel))
		readFull(t, upstream, got)
		if string(got) != wantCancel {
			t.Errorf("the server got %q", got)
		}
		upstream.Close()
		<-done
	}
	t.Run("inside TLS", func(t *testing.T) {
		r := secureRig(t)
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		forwarded(r, s, func(key *pgproto3.BackendKeyData) {
			conn := r.conn()
			conn.Write([]byte(sslRequest))
			readFull(t, conn, make([]byte, 1))
			secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			secure.Write(cancelPacket(key))
			io.ReadAll(secure)
		}, key)
	})
	t.Run("direct TLS", func(t *testing.T) {
		r := secureRig(t)
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		forwarded(r, s, func(key *pgproto3.BackendKeyData) {
			secure := tls.Client(r.conn(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
			secure.Write(cancelPacket(key))
			io.ReadAll(secure)
		}, key)
	})
	t.Run("at the limit of connections that start", func(t *testing.T) {
		r := newRig(t, false, func(c *proxy.Config) { c.Limits.Starting = 3 })
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		for range 3 {
			r.conn()
		}
		eventually(t, "the silent ones are there", func() bool { _, err := leanLogin(r.dial, "late"); return codeOf(err) == "53300" })
		c.send(query("SELECT slow"))
		forwarded(r, s, r.cancel, key)
	})
	t.Run("while the proxy drains", func(t *testing.T) {
		r := newRig(t, false)
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		over := make(chan error, 1)
		go func() { over <- r.p.Shutdown(t.Context()) }()
		eventually(t, "new sessions are refused", func() bool {
			late, err := leanLogin(r.dial, "late") // before the shutdown has begun the server is asked
			if err == nil {
				late.quit()
			}
			return codeOf(err) == "57P03"
		})
		c.send(query("SELECT slow"))
		forwarded(r, s, r.cancel, key)
		c.send(&pgproto3.Terminate{})
		s.expect("X")
		s.conn.Close()
		if err := <-over; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	t.Run("at the limit of sessions", func(t *testing.T) {
		r := newRig(t, false, func(c *proxy.Config) { c.Limits.MaxSessions, c.Limits.PerUser = 1, 1 })
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		forwarded(r, s, r.cancel, key)
	})
}

func TestS22BytesBehindTheStartUpPacketAreKept(t *testing.T) {
	onBoth(t, func(r *rig) {
		conn := r.conn()
		first, _ := query("SELECT 1").Encode(nil)
		second, _ := query("SELECT 2").Encode(nil)
		conn.Write([]byte(packet(3<<16, "user\x00app\x00\x00") + string(first) + string(second[:3])))
		back := r.backend()
		s := &scripted{peer{r.t, back}, pgproto3.NewBackend(back, back)}
		if _, err := s.back.ReceiveStartupMessage(); err != nil {
			r.t.Fatal(err)
		}
		s.accept()
		s.expect(`Q "SELECT 1"`)
		conn.Write(second[3:])
		s.expect(`Q "SELECT 2"`)
		s.send(complete("SELECT 1"), ready('I'), complete("SELECT 2"), ready('I'))
		c := &player{peer{r.t, conn}, pgproto3.NewFrontend(conn, conn)}
		c.awaitReady()
		c.expect(`C "SELECT 1"`, "Z I", `C "SELECT 2"`, "Z I")
	})
}

package app_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim"
)

// packet is a start-up packet: its length, then the code, then the rest.
func packet(code uint32, rest string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(rest)))
	return append(binary.BigEndian.AppendUint32(b, code), rest...)
}

const (
	protocol2  = 2 << 16
	protocol3  = 3 << 16
	sslRequest = 80877103
	gssRequest = 80877104
)

// TestBadBytes: what is no client is told so in its own language where it has
// one, closed, and counted by kind.
func TestBadBytes(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr))
	for _, c := range []struct {
		name, send string
		hangUp     bool // we close after sending
		kind       string
		code       string // SQLSTATE of the FATAL; "" for none
	}{
		{name: "protocol 2", send: string(packet(protocol2, "user\x00app\x00\x00")), kind: "protocol_version", code: "0A000"},
		{name: "protocol 1", send: string(packet(1<<16, strings.Repeat("\x00", 288))), kind: "protocol_version", code: "0A000"},
		{name: "protocol 4", send: string(packet(4<<16, "")), kind: "protocol_version", code: "0A000"},
		{name: "2 GB", send: "\x7f\xff\xff\xff\x00\x03\x00\x00user", kind: "startup_too_long", code: "53400"},
		{name: "4 GB", send: "\xff\xff\xff\xff", kind: "startup_too_long", code: "53400"},
		{name: "length 0", send: "\x00\x00\x00\x00", kind: "bad_startup", code: "08P01"},
		{name: "length 7", send: "\x00\x00\x00\x07\x00\x03\x00", kind: "bad_startup", code: "08P01"},
		{name: "no terminator", send: string(packet(protocol3, "user\x00app")), kind: "bad_startup", code: "08P01"},
		{name: "name without value", send: string(packet(protocol3, "user\x00")), kind: "bad_startup", code: "08P01"},
		{name: "SSLRequest with a tail", send: string(packet(sslRequest, "tail")), kind: "bad_startup", code: "08P01"},
		{name: "SSLRequest twice", send: strings.Repeat(string(packet(sslRequest, "")), 2), kind: "duplicate_ssl_request", code: "08P01"},
		{name: "GSSENCRequest twice", send: strings.Repeat(string(packet(gssRequest, "")), 2), kind: "duplicate_gss_request", code: "08P01"},
		{name: "SSH", send: "SSH-2.0-OpenSSH_9.2\r\n", kind: "startup_too_long", code: "53400"},
		{name: "half a length, then gone", send: "\x00\x00", hangUp: true, kind: "bad_startup", code: "08P01"},
		{name: "half a packet, then gone", send: login[:len(login)-5], hangUp: true, kind: "bad_startup", code: "08P01"},
		{name: "nothing, then gone", hangUp: true, kind: "probe"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, _ := scrape(t, p).sum("mzcanary_startup_failures_total", "kind="+c.kind)
			told(t, conversation(t, p.Proxy, c.send, c.hangUp), c.code)
			p.counted(t, "mzcanary_startup_failures_total", before+1, "kind="+c.kind)
		})
	}
	p.counted(t, "mzcanary_connections", 0)
	connect(t, dsn(p.Proxy, onProd))
}

// login is a whole start-up packet.
var login = string(packet(protocol3, "user\x00app\x00database\x00materialize\x00\x00"))

// TestSilence: whoever stops in the middle is told when limits.startup is over,
// and not before.
func TestSilence(t *testing.T) {
	_, addr := onSim(t)
	const limit = 250 * time.Millisecond
	p := start(t, configure(t, addr, "limits.startup="+limit.String()))
	began := time.Now()
	var wg sync.WaitGroup
	sends := []string{"", "\x00\x00", login[:len(login)-5], string(packet(sslRequest, "")), string(packet(gssRequest, "")) + login[:9]}
	for _, send := range sends {
		wg.Go(func() {
			said := conversation(t, p.Proxy, send, false)
			if took := time.Since(began); took < limit {
				t.Errorf("%q: closed after %s", send, took)
			}
			told(t, said, "08006")
		})
	}
	wg.Wait()
	p.counted(t, "mzcanary_startup_failures_total", float64(len(sends)), "kind=startup_deadline")
	p.counted(t, "mzcanary_connections", 0)
}

// conversation sends bytes and reads until the other side closes.
func conversation(t *testing.T, addr, send string, hangUp bool) []byte {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	_, err = c.Write([]byte(send))
	if hangUp {
		err = errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}
	said, readErr := io.ReadAll(c)
	if err = errors.Join(err, readErr); err != nil {
		t.Errorf("%q: not closed in order: %v after %q", send, err, said)
	}
	return said
}

// told wants exactly one FATAL with this code and our name as the last thing that
// was said, or nothing at all.
func told(t *testing.T, said []byte, code string) {
	t.Helper()
	if code == "" {
		if len(said) != 0 {
			t.Errorf("said %q", said)
		}
		return
	}
	said = bytes.TrimLeft(said, "N") // answers to SSLRequest and GSSENCRequest
	var e pgproto3.ErrorResponse
	if len(said) < 5 || said[0] != 'E' || len(said) != 1+int(binary.BigEndian.Uint32(said[1:])) {
		t.Errorf("not one ErrorResponse: %q", said)
		return
	}
	if err := e.Decode(said[5:]); err != nil {
		t.Error(err)
	}
	if e.Severity != "FATAL" || e.Code != code || !strings.HasPrefix(e.Message, "mzcanary: ") {
		t.Errorf("told %+v, want %s", e, code)
	}
}

// TestHTTPOnTheWrongPort: a browser or a health check gets an answer it can read.
func TestHTTPOnTheWrongPort(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr))
	for _, request := range []string{"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		said := string(conversation(t, p.Proxy, request, false))
		says(t, "the answer to "+request[:4], said, "HTTP/1.0 400", "mzcanary", "observe.address")
	}
	scrape(t, p).want(t, "mzcanary_startup_failures_total", 3, "kind=http")
}

// TestTLSWithoutBeingOffered: a ClientHello on a port without TLS is hung up on,
// for nothing that is said in the clear would be understood.
func TestTLSWithoutBeingOffered(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr))
	c, err := net.Dial("tcp", p.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	err = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}}).Handshake()
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("handshake: %v", err)
	}
	p.counted(t, "mzcanary_startup_failures_total", 1, "kind=direct_tls")
}

// TestLoginDeadline: who never answers the server's question for the password is
// told when limits.startup is over.
func TestLoginDeadline(t *testing.T) {
	addr := serveSim(t, simulated(t, sim.Options{Auth: sim.Auth{Kind: sim.AuthCleartext, Passwords: map[string]string{"app": "secret"}}}), "127.0.0.1:0")
	p := start(t, configure(t, addr, "limits.startup=300ms"))
	said := conversation(t, p.Proxy, login, false)
	if !bytes.HasPrefix(said, []byte("R\x00\x00\x00\x08\x00\x00\x00\x03")) {
		t.Fatalf("not asked for the password: %q", said)
	}
	told(t, said[9:], "08006")
	p.counted(t, "mzcanary_startup_failures_total", 1, "kind=startup_deadline")
}

// TestBadBytesAfterLogin: a session that breaks the protocol is ended with a
// sentence, and counted apart from those that never were sessions.
func TestBadBytesAfterLogin(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr))
	for i, bytesOf := range []string{"Q\x00\x00\x00\x02", "Q\x00\x00\x00\x00", "Q\xff\xff\xff\xff"} {
		said := conversation(t, p.Proxy, login+bytesOf, false)
		ready := bytes.Index(said, []byte("Z\x00\x00\x00\x05I"))
		if ready < 0 {
			t.Fatalf("no login: %q", said)
		}
		told(t, said[ready+6:], "08P01")
		p.counted(t, "mzcanary_session_failures_total", float64(i+1), "kind=protocol_violation")
	}
}

// oddServer logs everybody in and answers every Query with a message that no
// PostgreSQL has.
func oddServer(t *testing.T) (addr string, odd []byte) {
	t.Helper()
	odd = []byte("y\x00\x00\x00\x0bunknown")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conns := make(chan struct{}, 100)
		n := 0
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			n++
			go func() { defer func() { conns <- struct{}{} }(); oddSession(c, odd) }()
		}
		for range n {
			<-conns
		}
	}()
	t.Cleanup(func() { ln.Close(); <-ended })
	return ln.Addr().String(), odd
}

func oddSession(c net.Conn, odd []byte) {
	defer c.Close()
	b := pgproto3.NewBackend(c, c)
	first, err := b.ReceiveStartupMessage()
	if err != nil {
		return
	}
	if s, ok := first.(*pgproto3.StartupMessage); !ok || s.Parameters["user"] != "app" {
		return // the control role is not served here
	}
	b.Send(&pgproto3.AuthenticationOk{})
	for _, s := range [][2]string{{"mz_version", "v26.4.0-dev.0 (4c45b0938)"}, {"cluster", "prod"}, {"search_path", "prod"}} {
		b.Send(&pgproto3.ParameterStatus{Name: s[0], Value: s[1]})
	}
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		if err != nil {
			return
		}
		if _, ok := m.(*pgproto3.Query); ok {
			if _, err := c.Write(odd); err != nil {
				return
			}
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		}
	}
}

// TestUnknownServerMessage: relayed byte for byte; the session goes on and is not
// moved any more, and says why.
func TestUnknownServerMessage(t *testing.T) {
	addr, odd := oddServer(t)
	p := start(t, configure(t, addr))
	c, err := net.Dial("tcp", p.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte(login)); err != nil {
		t.Fatal(err)
	}
	readUntil(t, c, []byte("Z\x00\x00\x00\x05I"))
	for range 2 {
		if _, err := c.Write([]byte("Q\x00\x00\x00\x0dSELECT 1\x00")); err != nil {
			t.Fatal(err)
		}
		want := append(bytes.Clone(odd), "C\x00\x00\x00\x0dSELECT 0\x00Z\x00\x00\x00\x05I"...)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("relayed %q (%v), want %q", got, err, want)
		}
	}
	list, err := p.client.Sessions(within(t), "shop", "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	if s := list[0]; s.Place != "unknown" || s.Why == "" {
		t.Errorf("it stands %s: %s", s.Place, s.Why)
	}
	scrape(t, p).want(t, "mzcanary_sessions", 1, "deployment=shop", "state=unknown")
}

// readUntil reads byte by byte until the mark has been seen.
func readUntil(t *testing.T, r io.Reader, mark []byte) {
	t.Helper()
	var seen []byte
	var b [1]byte
	for !bytes.HasSuffix(seen, mark) {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			t.Fatalf("%v after %q", err, seen)
		}
		seen = append(seen, b[0])
	}
}

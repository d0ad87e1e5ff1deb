package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
	"mzcanary/proxy"
	"mzcanary/router"
)

// rig is a proxy between a client and a backend that the test plays itself,
// message by message.
type rig struct {
	t        testing.TB
	p        *proxy.Proxy
	table    *router.Table
	stats    *armstats.Set
	dial     func() (net.Conn, error)
	backends chan net.Conn // what the proxy has dialled
	logs     *logBuffer
	sealed   bool // TLS on both legs
}

// onBoth runs a test on event loops, over TCP and with TLS on both legs, and on
// pumps, in memory inside a synctest bubble.
func onBoth(t *testing.T, test func(r *rig), changes ...change) {
	t.Helper()
	onLoops(t, test, changes...)
	inMemory(t, test, changes...)
}

// onLoops is the half of onBoth that event loops carry.
func onLoops(t *testing.T, test func(r *rig), changes ...change) {
	t.Helper()
	t.Run("tcp", func(t *testing.T) {
		t.Cleanup(leaks(t)) // runs last
		test(newRig(t, false, changes...))
	})
	t.Run("tls", func(t *testing.T) {
		t.Cleanup(leaks(t)) // runs last
		test(newSealedRig(t, changes...))
	})
}

// onPlain is onBoth for tests that are themselves about what stands below TLS.
func onPlain(t *testing.T, test func(r *rig), changes ...change) {
	t.Helper()
	t.Run("tcp", func(t *testing.T) {
		t.Cleanup(leaks(t)) // runs last
		test(newRig(t, false, changes...))
	})
	inMemory(t, test, changes...)
}

// newSealedRig is a rig over TCP with TLS on both legs, which the test does not see.
func newSealedRig(t testing.TB, changes ...change) *rig {
	own := &tls.Config{Certificates: []tls.Certificate{localhost()}}
	r := makeRig(t, false, func(conn net.Conn) net.Conn {
		conn.SetDeadline(time.Now().Add(guard))
		defer conn.SetDeadline(time.Time{})
		if _, err := io.ReadFull(conn, make([]byte, len(sslRequest))); err != nil {
			return conn
		}
		if _, err := conn.Write([]byte{wire.AnswerTLS}); err != nil {
			return conn
		}
		return tls.Server(conn, own)
	}, append([]change{func(c *proxy.Config) {
		c.ClientTLS = own
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			secured, err := wire.ServerTLS{Mode: wire.TLSRequire}.Start(ctx, conn)
			if err != nil {
				conn.Close()
			}
			return secured, err
		}
	}}, changes...)...)
	r.sealed = true
	plain := r.dial
	r.dial = func() (net.Conn, error) {
		conn, err := plain()
		if err != nil {
			return nil, err
		}
		conn.SetDeadline(time.Now().Add(guard))
		defer conn.SetDeadline(time.Time{})
		if _, err = conn.Write([]byte(sslRequest)); err == nil {
			_, err = io.ReadFull(conn, make([]byte, 1))
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}), nil
	}
	return r
}

// localhost is one certificate for all rigs: making one costs more than a handshake.
var localhost = sync.OnceValue(func() tls.Certificate {
	cert, err := selfSigned()
	if err != nil {
		panic(err)
	}
	return cert
})

func inMemory(t *testing.T, test func(r *rig), changes ...change) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(newRig(t, true, changes...)) })
	})
}

func newRig(t testing.TB, memory bool, changes ...change) *rig {
	return makeRig(t, memory, nil, changes...)
}

// makeRig is newRig whose server takes a TCP connection by accept, if there is one.
func makeRig(t testing.TB, memory bool, accept func(net.Conn) net.Conn, changes ...change) *rig {
	d := shopDeployment()
	d.Clusters = d.Schemas
	r := &rig{
		t: t, table: router.NewTable([]router.Deployment{d}), stats: armstats.NewSet([]string{shop}),
		backends: make(chan net.Conn, 100), logs: &logBuffer{},
	}
	var ln net.Listener
	var dialServer func(context.Context) (net.Conn, error)
	closeServer := func() {}
	if memory {
		front := newMemoryListener()
		ln, r.dial = front, front.dial
		dialServer = func(context.Context) (net.Conn, error) {
			ours, theirs := memoryPipe()
			r.backends <- theirs
			return ours, nil
		}
	} else {
		ln, dialServer, closeServer = r.overTCP(accept)
	}
	cfg := proxy.Config{
		Table: r.table, Stats: r.stats, Kind: proxy.Materialize, Dial: dialServer, Log: r.logs.logger(),
		Limits: proxy.Limits{Startup: 10 * time.Second}, Sweep: 50 * time.Millisecond,
	}
	for _, c := range changes {
		c(&cfg)
	}
	r.p = proxy.New(cfg)
	served := make(chan error, 1)
	go func() { served <- r.p.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		ctx, done := context.WithCancel(context.Background())
		done() // whoever is left is ended
		r.p.Shutdown(ctx)
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		closeServer()
		if n := len(r.p.Sessions("")); n != 0 {
			t.Errorf("%d sessions are left after Shutdown", n)
		}
		if t.Failed() {
			t.Logf("log of the proxy:\n%s", r.logs)
		}
	})
	return r
}

func (r *rig) overTCP(accept func(net.Conn) net.Conn) (net.Listener, func(context.Context) (net.Conn, error), func()) {
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			r.t.Fatal(err)
		}
		return ln
	}
	front, back := listen(), listen()
	r.dial = func() (net.Conn, error) { return net.Dial("tcp", front.Addr().String()) }
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := back.Accept()
			if err != nil {
				return
			}
			if accept == nil {
				r.backends <- c // in the order they came
			} else {
				accepting.Go(func() { r.backends <- accept(c) })
			}
		}
	})
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", back.Addr().String())
	}
	return front, dial, func() {
		back.Close()
		accepting.Wait()
		for len(r.backends) > 0 {
			(<-r.backends).Close()
		}
	}
}

func (r *rig) route(f func(*router.Deployment)) {
	if _, ok := r.table.Update(shop, f); !ok {
		r.t.Fatal("no such deployment")
	}
}

func (r *rig) toCanary() { r.route(func(d *router.Deployment) { d.Weight = router.Full }) }
func (r *rig) toStable() { r.route(func(d *router.Deployment) { d.Weight = 0 }) }

// conn connects to the proxy.
func (r *rig) conn() net.Conn {
	r.t.Helper()
	c, err := r.dial()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(guard))
	return c
}

// guard is the deadline of every wait in these tests, as a failure guard.
const guard = 15 * time.Second

// backend gives the next connection that the proxy has made to the server.
func (r *rig) backend() net.Conn {
	r.t.Helper()
	select {
	case c := <-r.backends:
		r.t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(guard))
		return c
	case <-time.After(guard):
		r.t.Fatal("the proxy did not connect to the server")
	}
	return nil
}

// client plays a client, server a backend; both speak pgproto3, not our codec.
type peer struct {
	t    testing.TB
	conn net.Conn
}

type player struct {
	peer
	front *pgproto3.Frontend
}

type scripted struct {
	peer
	back *pgproto3.Backend
}

const (
	serverPID    = 4242
	serverSecret = "\x01\x02\x03\x04"
)

// login brings a session to its first ReadyForQuery.
func (r *rig) login(params ...string) (*player, *scripted) {
	r.t.Helper()
	c, s := r.begin(params...)
	s.accept()
	c.awaitReady()
	return c, s
}

// begin sends the client's start-up packet and lets the backend read it.
func (r *rig) begin(params ...string) (*player, *scripted) {
	r.t.Helper()
	p := map[string]string{"user": "app", "database": "materialize", "cluster": "prod", "search_path": "prod"}
	for i := 0; i+1 < len(params); i += 2 {
		p[params[i]] = params[i+1]
	}
	conn := r.conn()
	c := &player{peer{r.t, conn}, pgproto3.NewFrontend(conn, conn)}
	c.front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: p})
	c.flush()
	back := r.backend()
	s := &scripted{peer{r.t, back}, pgproto3.NewBackend(back, back)}
	if _, err := s.back.ReceiveStartupMessage(); err != nil {
		r.t.Fatalf("the backend reads the start-up packet: %v", err)
	}
	return c, s
}

// accept is the server's part of a login.
func (s *scripted) accept() {
	s.t.Helper()
	s.send(
		&pgproto3.AuthenticationOk{},
		&pgproto3.ParameterStatus{Name: "cluster", Value: "prod"},
		&pgproto3.ParameterStatus{Name: "search_path", Value: "prod"},
		&pgproto3.ParameterStatus{Name: "mz_version", Value: "v26.39.0"},
		&pgproto3.BackendKeyData{ProcessID: serverPID, SecretKey: []byte(serverSecret)},
		ready('I'),
	)
}

func ready(status byte) *pgproto3.ReadyForQuery { return &pgproto3.ReadyForQuery{TxStatus: status} }
func complete(tag string) *pgproto3.CommandComplete {
	return &pgproto3.CommandComplete{CommandTag: []byte(tag)}
}
func query(text string) *pgproto3.Query { return &pgproto3.Query{String: text} }

func (c *player) flush() {
	c.t.Helper()
	if err := c.front.Flush(); err != nil {
		c.t.Fatalf("the client writes: %v", err)
	}
}

func (c *player) send(messages ...pgproto3.FrontendMessage) {
	c.t.Helper()
	for _, m := range messages {
		c.front.Send(m)
	}
	c.flush()
}

func (s *scripted) send(messages ...pgproto3.BackendMessage) {
	s.t.Helper()
	for _, m := range messages {
		s.back.Send(m)
	}
	if err := s.back.Flush(); err != nil {
		s.t.Fatalf("the backend writes: %v", err)
	}
}

// expect reads messages and compares them with a line such as `Q "SELECT 1"`.
func (s *scripted) expect(lines ...string) {
	s.t.Helper()
	for _, want := range lines {
		m, err := s.back.Receive()
		if err != nil {
			s.t.Fatalf("the backend waits for %s: %v", want, err)
		}
		if got := show(m); got != want {
			s.t.Fatalf("the backend got %s, want %s", got, want)
		}
	}
}

func (c *player) expect(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		m, err := c.front.Receive()
		if err != nil {
			c.t.Fatalf("the client waits for %s: %v", want, err)
		}
		if got := show(m); got != want {
			c.t.Fatalf("the client got %s, want %s", got, want)
		}
	}
}

func (c *player) awaitReady() {
	c.t.Helper()
	for {
		m, err := c.front.Receive()
		if err != nil {
			c.t.Fatalf("the client waits for ReadyForQuery: %v", err)
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			return
		}
	}
}

// expectEnd reads until the end of the stream, which must come.
func (p *peer) expectEnd() []byte {
	p.t.Helper()
	b, err := io.ReadAll(p.conn)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		p.t.Fatalf("want the end of the stream, got %v after %q", err, b)
	}
	return b
}

// show writes a message as a short line.
func show(m any) string {
	switch m := m.(type) {
	case *pgproto3.Query:
		return fmt.Sprintf("Q %q", m.String)
	case *pgproto3.Parse:
		return fmt.Sprintf("P %q %q", m.Name, m.Query)
	case *pgproto3.Terminate:
		return "X"
	case *pgproto3.Sync:
		return "S"
	case *pgproto3.Execute:
		return "E"
	case *pgproto3.Bind:
		return "B"
	case *pgproto3.CopyData:
		return fmt.Sprintf("d %d", len(m.Data))
	case *pgproto3.CommandComplete:
		return fmt.Sprintf("C %q", m.CommandTag)
	case *pgproto3.ReadyForQuery:
		return "Z " + string(m.TxStatus)
	case *pgproto3.ErrorResponse:
		return "E " + m.Severity + " " + m.Code
	case *pgproto3.NoticeResponse:
		return "N " + m.Code
	case *pgproto3.ParameterStatus:
		return "S " + m.Name + "=" + m.Value
	case *pgproto3.DataRow:
		return fmt.Sprintf("D %q", bytes.Join(m.Values, []byte(",")))
	case *pgproto3.BackendKeyData:
		return fmt.Sprintf("K %d %s", m.ProcessID, hex.EncodeToString(m.SecretKey))
	}
	return fmt.Sprintf("%T", m)
}

const moveToCanary = `Q "SET cluster = \"prod_deploy\"; SET search_path = \"prod_deploy\""`
const moveToStable = `Q "SET cluster = \"prod\"; SET search_path = \"prod\""`

// moved answers a unit as the server does.
func (s *scripted) moved(name string) {
	s.t.Helper()
	s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: name}, complete("SET"),
		&pgproto3.ParameterStatus{Name: "search_path", Value: name}, complete("SET"), ready('I'))
}

// settle waits until the proxy has nothing to do, as far as can be known.
func (r *rig) session() proxy.SessionInfo {
	r.t.Helper()
	list := r.p.Sessions("")
	if len(list) != 1 {
		r.t.Fatalf("%d sessions, want 1", len(list))
	}
	return list[0]
}

// becomes waits until the only session's place or reason is as told.
func (r *rig) becomes(what string, ok func(proxy.SessionInfo) bool) {
	r.t.Helper()
	deadline := time.Now().Add(guard)
	for {
		list := r.p.Sessions("")
		if len(list) == 1 && ok(list[0]) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the session does not become %s: %+v", what, list)
		}
		time.Sleep(time.Millisecond)
	}
}

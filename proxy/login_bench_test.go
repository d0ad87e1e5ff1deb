package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
	"mzcanary/router"
)

// knock is a client and a server that do a login and nothing else, with bytes
// made once, so that what they allocate is the sockets.
type knock struct {
	packet, answer []byte
	terminate      []byte
}

func newKnock(t testing.TB) *knock {
	encode := func(m interface {
		Encode([]byte) ([]byte, error)
	}, dst []byte) []byte {
		b, err := m.Encode(dst)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	k := &knock{}
	k.packet = encode(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{
		"user": "app", "database": "materialize", "application_name": "shop", "client_encoding": "UTF8",
	}}, nil)
	k.answer = encode(&pgproto3.AuthenticationOk{}, nil)
	for _, p := range [][2]string{
		{"application_name", "shop"}, {"client_encoding", "UTF8"}, {"cluster", "prod"}, {"database", "materialize"}, {"DateStyle", "ISO, MDY"},
		{"integer_datetimes", "on"}, {"IntervalStyle", "postgres"}, {"is_superuser", "off"}, {"mz_version", "v26.39.0"}, {"search_path", "prod"},
		{"server_version", "9.5.0"}, {"standard_conforming_strings", "on"}, {"TimeZone", "UTC"}, {"welcome_message", "off"},
	} {
		k.answer = encode(&pgproto3.ParameterStatus{Name: p[0], Value: p[1]}, k.answer)
	}
	k.answer = encode(&pgproto3.BackendKeyData{ProcessID: serverPID, SecretKey: []byte(serverSecret)}, k.answer)
	k.answer = encode(&pgproto3.ReadyForQuery{TxStatus: 'I'}, k.answer)
	k.terminate = encode(&pgproto3.Terminate{}, nil)
	return k
}

// serve answers logins on ln, one after the other, until it is closed.
func (k *knock) serve(ln net.Listener) error {
	head := make([]byte, len(k.packet))
	rest := make([]byte, len(k.terminate))
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, head); err == nil {
			conn.Write(k.answer)
			io.ReadFull(conn, rest)
		}
		conn.Close()
	}
}

// once logs in and leaves.
func (k *knock) once(addr string, into []byte) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(k.packet); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, into); err != nil {
		return err
	}
	if !bytes.HasSuffix(into, []byte("Z\x00\x00\x00\x05I")) {
		return errors.New("the login ends without ReadyForQuery")
	}
	if _, err := conn.Write(k.terminate); err != nil {
		return err
	}
	_, err = conn.Read(into) // its end
	if err != io.EOF {
		return err
	}
	return nil
}

// newKnockStand gives the address of a server and that of a proxy before it.
func newKnockStand(t testing.TB, k *knock) (server, front string) {
	back, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := shopDeployment()
	d.Clusters = d.Schemas
	p := proxy.New(proxy.Config{
		Table: router.NewTable([]router.Deployment{d}), Kind: proxy.Materialize,
		Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", back.Addr().String())
		},
		Limits: proxy.Limits{Startup: 10 * time.Second},
	})
	done := make(chan error, 2)
	go func() { done <- k.serve(back) }()
	go func() { done <- p.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		if err := errors.Join(p.Shutdown(context.Background()), back.Close(), <-done, <-done); err != nil {
			t.Error(err)
		}
	})
	return back.Addr().String(), ln.Addr().String()
}

// loginAllocations bounds what one login through the proxy allocates more than
// one without: two sockets, the session and its registration.
const loginAllocations = 130

// TestLoginAllocatesLittle keeps logins cheap: storms of them are ordinary.
func TestLoginAllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: pools drop buffers on purpose under the race detector")
	}
	k := newKnock(t)
	server, front := newKnockStand(t, k)
	into := make([]byte, len(k.answer))
	measure := func(addr string) float64 {
		return testing.AllocsPerRun(200, func() {
			if err := k.once(addr, into); err != nil {
				t.Fatal(err)
			}
		})
	}
	measure(front) // pools are filled
	if n := measure(front) - measure(server); n > loginAllocations {
		t.Errorf("a login through the proxy makes %.0f allocations more than one without, want at most %d", n, loginAllocations)
	} else {
		t.Logf("%.0f allocations", n)
	}
}

// BenchmarkLogin is a login and its end over the loopback, client and server in
// this process: directly and through the proxy. The difference is the proxy's,
// in allocations; for CPU see bench/.
func BenchmarkLogin(b *testing.B) {
	k := newKnock(b)
	server, front := newKnockStand(b, k)
	into := make([]byte, len(k.answer))
	for _, way := range []struct{ name, addr string }{{"direct", server}, {"proxy", front}} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := k.once(way.addr, into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

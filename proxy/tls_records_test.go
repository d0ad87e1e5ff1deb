package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/pgtest"
	"mzcanary/proxy"
)

// recordReader looks at the TLS records that come out of a connection on their way to
// crypto/tls.
type recordReader struct {
	net.Conn
	mu       sync.Mutex
	started  bool // the S that answers SSLRequest has passed
	pending  []byte
	overhead int // of a record of application data
	largest  int // plaintext, in bytes
	sum      int // of plaintext
	records  int
	all      []int // sizes since forget
}

func (r *recordReader) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := p[:n]
	if !r.started && n > 0 {
		r.started, fresh = true, fresh[1:]
	}
	r.pending = append(r.pending, fresh...)
	for len(r.pending) >= 5 {
		end := 5 + int(binary.BigEndian.Uint16(r.pending[3:]))
		if len(r.pending) < end {
			break
		}
		if r.pending[0] == 23 {
			plain := end - 5 - r.overhead
			r.largest, r.sum, r.records = max(r.largest, plain), r.sum+plain, r.records+1
			r.all = append(r.all, plain)
		}
		r.pending = r.pending[end:]
	}
	return n, err
}

func (r *recordReader) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum, r.records, r.all = 0, 0, nil
}

// TestS21NoRecordIsLargerThanLibpqReads: libpq's asynchronous calls read at least 8192
// bytes at a time and then wait for the socket: what a larger record leaves inside
// OpenSSL is never asked for. Read off the wire, from the first flight on: with result
// sizes swept around 8, 16 and 80 KiB, with rows, COPY and a value of a megabyte.
func TestS21NoRecordIsLargerThanLibpqReads(t *testing.T) {
	cert := certificate(t)
	s := onPostgres(t, func(c *proxy.Config) {
		c.ClientTLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	})
	for version, overhead := range map[uint16]int{tls.VersionTLS12: 8 + 16, tls.VersionTLS13: 1 + 16} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			cfg, err := pgx.ParseConfig(pgtest.DSN(s.addr, pgtest.RoleSCRAM, onProd, "sslmode=require default_query_exec_mode=exec"))
			if err != nil {
				t.Fatal(err)
			}
			cfg.TLSConfig.MaxVersion = version
			cfg.TLSConfig.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
			var wire *recordReader
			cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
				var d net.Dialer
				conn, err := d.DialContext(ctx, network, address)
				wire = &recordReader{Conn: conn, overhead: overhead}
				return wire, err
			}
			conn, err := pgx.ConnectConfig(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			if wire.records == 0 || wire.largest > 8192 {
				t.Errorf("the login came in %d records of up to %d bytes", wire.records, wire.largest)
			}
			for _, around := range []int{8 << 10, 16 << 10, 80 << 10} {
				for size := around - 60; size <= around+20; size++ {
					wire.forget()
					var text string
					if err := conn.QueryRow(t.Context(), fmt.Sprintf("SELECT repeat('x', %d)", size)).Scan(&text); err != nil || len(text) != size {
						t.Fatalf("size %d: got %d, %v", size, len(text), err)
					}
					// Full records, but for the last and for where the server paused.
					if wire.sum < size || wire.largest > 8192 {
						t.Fatalf("size %d came in records of %v", size, wire.all)
					}
				}
			}
			var rows int
			for _, sql := range []string{"SELECT repeat('x', 1048576)", "SELECT repeat('x', k % 5000) FROM generate_series(1, 20000) AS k"} {
				wire.forget()
				result, err := conn.Query(t.Context(), sql)
				if err != nil {
					t.Fatal(err)
				}
				for result.Next() {
					rows++
				}
				if result.Err() != nil || wire.sum < 1<<20 {
					t.Errorf("%s: %d bytes in %d records, %v", sql, wire.sum, wire.records, result.Err())
				}
			}
			var copied bytes.Buffer
			if _, err := conn.PgConn().CopyTo(t.Context(), &copied, "COPY (SELECT repeat('x', k % 9000) FROM generate_series(1, 5000) AS k) TO STDOUT"); err != nil {
				t.Fatal(err)
			}
			if wire.largest != 8192 {
				t.Errorf("the largest record of all has %d bytes, want 8192: full, and not fuller", wire.largest)
			}
		})
	}
}

// TestS4ALPN: the protocol's name is mandatory where TLS begins unasked, and optional
// behind an SSLRequest; a client that wants another protocol is turned away by both.
func TestS4ALPN(t *testing.T) {
	startup := packet(3<<16, "user\x00app\x00\x00")
	for _, c := range []struct {
		name       string
		negotiated bool
		protos     []string
		want       string // "in", "told" (08P01 within TLS), "alert"
	}{
		{"direct with its name", false, []string{"postgresql"}, "in"},
		{"direct with its name among others", false, []string{"h2", "postgresql"}, "in"},
		{"direct without a name", false, nil, "told"},
		{"direct with another", false, []string{"http/1.1"}, "alert"},
		{"negotiated with its name", true, []string{"postgresql"}, "in"},
		{"negotiated without a name", true, nil, "in"},
		{"negotiated with another", true, []string{"http/1.1"}, "alert"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(c.name+", "+tls.VersionName(version), func(t *testing.T) {
				r := secureRig(t)
				raw := r.conn()
				if c.negotiated {
					raw.Write([]byte(sslRequest))
					readFull(t, raw, make([]byte, 1))
				}
				conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: c.protos, MaxVersion: version})
				err := conn.Handshake()
				if alerted := err != nil && strings.Contains(err.Error(), "no application protocol"); alerted != (c.want == "alert") {
					t.Fatalf("handshake: %v", err)
				}
				if c.want == "alert" {
					eventually(t, "counted", func() bool { return metric(t, r.p, "mzcanary_startup_failures_total", "tls_handshake") == 1 })
					noBackend(r)
					return
				}
				if got := conn.ConnectionState().NegotiatedProtocol; got != map[bool]string{true: "postgresql"}[len(c.protos) > 0] {
					t.Errorf("negotiated %q", got)
				}
				conn.Write([]byte(startup))
				if c.want == "in" {
					got := make([]byte, len(startup))
					readFull(t, r.backend(), got)
					if string(got) != startup {
						t.Errorf("the server got %q", got)
					}
					conn.Close()
					return
				}
				answer, _ := io.ReadAll(conn)
				for _, part := range []string{"FATAL\x00", "C08P01\x00", "mzcanary: ", "needs the application protocol postgresql", "sslnegotiation=postgres"} {
					if !bytes.Contains(answer, []byte(part)) {
						t.Errorf("told %q, without %q", answer, part)
					}
				}
				noBackend(r)
			})
		}
	}
	t.Run("direct where no TLS is offered", func(t *testing.T) {
		r := newRig(t, false)
		raw := r.conn()
		conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
		if err := conn.Handshake(); err == nil {
			t.Error("shook hands")
		}
		raw = r.conn()
		raw.Write([]byte("\x16\x03\x01\x00\x05hello"))
		if got := (&peer{t, raw}).expectEnd(); len(got) != 0 {
			t.Errorf("answered %q in the clear, want nothing", got)
		}
		noBackend(r)
	})
}

// TestCancelNeedsNoCertificate: its key is its proof. libpq before 17 cancels in the
// clear, whatever the session's connection is.
func TestCancelNeedsNoCertificate(t *testing.T) {
	r := secureRig(t, func(c *proxy.Config) { c.ClientTLSRequired, c.ClientCertRequired = true, true })
	raw := r.conn()
	raw.Write([]byte(packet(80877102, "\x00\x00\x00\x01\x00\x00\x00\x02")))
	if got := (&peer{t, raw}).expectEnd(); len(got) != 0 {
		t.Errorf("a CancelRequest was answered %q", got)
	}
	if n := metric(t, r.p, "mzcanary_startup_failures_total", "client_certificate") + metric(t, r.p, "mzcanary_startup_failures_total", "tls_required"); n != 0 {
		t.Errorf("%v refusals were counted", n)
	}
	secure := tls.Client(rawTLS(t, r), &tls.Config{InsecureSkipVerify: true})
	secure.Write([]byte(packet(3<<16, "user\x00app\x00\x00")))
	answer, _ := io.ReadAll(secure)
	if !bytes.Contains(answer, []byte("C28000\x00")) {
		t.Errorf("a session without a certificate is told %q", answer)
	}
	noBackend(r)
}

// rawTLS is a connection whose next bytes are a TLS handshake.
func rawTLS(t *testing.T, r *rig) net.Conn {
	raw := r.conn()
	raw.Write([]byte(sslRequest))
	readFull(t, raw, make([]byte, 1))
	return raw
}

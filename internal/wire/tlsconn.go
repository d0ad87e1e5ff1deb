package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// maxRecord is the plaintext of one TLS record to a client, in bytes: larger
// ones hang libpq's asynchronous interface, which reads 8 KiB and then waits
// for a socket that has nothing more to say.
const maxRecord = 8192

// ALPN is the application protocol of direct TLS.
const ALPN = "postgresql"

// ClientTLS is the TLS connection to a client. Every Write becomes records of
// at most 8 KiB of plaintext and one write to the socket.
type ClientTLS struct {
	*tls.Conn
	under *coalescer
	mu    sync.Mutex // one batch at a time
}

// ServeTLS starts TLS as the server of a client's connection and completes the
// handshake. config is not changed. The error is a *Failure; the connection
// stays open.
func ServeTLS(ctx context.Context, conn net.Conn, config *tls.Config) (*ClientTLS, error) {
	config = config.Clone()
	config.DynamicRecordSizingDisabled = true
	under := &coalescer{Conn: conn}
	c := &ClientTLS{Conn: tls.Server(under, config), under: under}
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, Fail(KindTLSHandshake, "", err)
	}
	return c, nil
}

// Write writes p in records of at most 8 KiB and flushes once.
func (c *ClientTLS) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(p) <= maxRecord {
		return c.Conn.Write(p)
	}
	c.under.hold()
	written := 0
	for written < len(p) {
		n, err := c.Conn.Write(p[written:min(written+maxRecord, len(p))])
		written += n
		if err != nil {
			return written, errors.Join(err, c.under.release())
		}
	}
	return written, c.under.release()
}

// coalescer gathers the records of one batch. Writes outside a batch, the
// handshake's and those that reading causes, go through at once and in order.
type coalescer struct {
	net.Conn
	mu      sync.Mutex
	holding bool
	buf     *[]byte // from batches while holding
	failed  error
}

// batchBound is when a batch is written though it goes on, in bytes.
const batchBound = 64 << 10

var batches = sync.Pool{New: func() any { b := make([]byte, 0, batchBound+maxRecord+512); return &b }}

func (c *coalescer) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = true
	c.buf = batches.Get().(*[]byte)
}

func (c *coalescer) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.flush()
	c.holding = false
	batches.Put(c.buf)
	c.buf = nil
	return err
}

func (c *coalescer) flush() error {
	if c.failed == nil && len(*c.buf) > 0 {
		_, c.failed = c.Conn.Write(*c.buf)
	}
	*c.buf = (*c.buf)[:0]
	return c.failed
}

// Write implements net.Conn. The lock is held while the socket is written to:
// records must reach it in the order in which they were sealed.
func (c *coalescer) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.holding {
		return c.Conn.Write(p)
	}
	*c.buf = append(*c.buf, p...)
	if len(*c.buf) >= batchBound {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// CloseWrite closes the writing half of the TCP connection under TLS, if it
// has one.
func (c *coalescer) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// TLSMode is how the connection to the server is protected.
type TLSMode uint8

// The modes, with libpq's names and meanings.
const (
	TLSDisable    TLSMode = iota // plain text
	TLSRequire                   // encrypted, certificate not checked
	TLSVerifyCA                  // certificate signed by a trusted authority
	TLSVerifyFull                // and issued for the server's name
)

var tlsModeNames = [...]string{"disable", "require", "verify-ca", "verify-full"}

// ParseTLSMode reads a mode by its name.
func ParseTLSMode(name string) (TLSMode, error) {
	for i, n := range tlsModeNames {
		if n == name {
			return TLSMode(i), nil
		}
	}
	return 0, fmt.Errorf("TLS mode %q: use disable, require, verify-ca or verify-full", name)
}

// String is the mode's name.
func (m TLSMode) String() string {
	if int(m) < len(tlsModeNames) {
		return tlsModeNames[m]
	}
	return "unknown"
}

// ServerTLS says how to speak TLS to the server. The zero value does not.
type ServerTLS struct {
	Mode       TLSMode
	RootCAs    *x509.CertPool // nil: the system's
	ServerName string         // sent as SNI in every mode, checked by verify-full
	// Certificates is what the proxy shows of itself, if the server asks.
	Certificates []tls.Certificate
}

// Start asks the server for TLS and completes the handshake, within ctx. With
// TLSDisable it returns conn. The error is a *Failure. conn stays open,
// unless ctx ended while the server was silent.
func (t ServerTLS) Start(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if t.Mode == TLSDisable {
		return conn, nil
	}
	if err := requestTLS(ctx, conn); err != nil {
		return nil, err
	}
	secured := tls.Client(conn, t.config())
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, Fail(KindUpstreamTLS, "", err)
	}
	return secured, nil
}

// requestTLS sends SSLRequest and reads exactly one byte: what a man in the
// middle stuffs behind it goes to the handshake and fails there.
func requestTLS(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write(AppendSSLRequest(nil)); err != nil {
		return Fail(KindUpstreamDown, "", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Fail(KindUpstreamDown, "", fmt.Errorf("no answer to SSLRequest: %w", err))
	}
	switch answer[0] {
	case AnswerTLS:
		return nil
	case AnswerPlain:
		return Fail(KindUpstreamTLS, "the server offers no TLS", nil)
	}
	return Fail(KindUpstreamTLS, fmt.Sprintf("the server answered SSLRequest with %q", answer[0]), nil)
}

func (t ServerTLS) config() *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: t.RootCAs, ServerName: t.ServerName, Certificates: t.Certificates,
	}
	if t.Mode == TLSVerifyFull {
		return config
	}
	// Without a name to check, Go verifies nothing by itself.
	config.InsecureSkipVerify = true
	if t.Mode == TLSVerifyCA {
		config.VerifyConnection = func(state tls.ConnectionState) error {
			options := x509.VerifyOptions{Roots: t.RootCAs, Intermediates: x509.NewCertPool()}
			for _, c := range state.PeerCertificates[1:] {
				options.Intermediates.AddCert(c)
			}
			_, err := state.PeerCertificates[0].Verify(options)
			return err
		}
	}
	return config
}

// Prepend returns conn with head put before what it still has to read.
func Prepend(conn net.Conn, head []byte) net.Conn {
	return &prepended{Conn: conn, head: head}
}

type prepended struct {
	net.Conn
	head []byte
}

func (p *prepended) Read(b []byte) (int, error) {
	if len(p.head) > 0 {
		n := copy(b, p.head)
		p.head = p.head[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

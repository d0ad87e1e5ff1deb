package wire

import (
	"context"
	"crypto/tls"
	"errors"
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
	socket *underTLS
	under  *coalescer // over socket
	mu     sync.Mutex // one batch at a time
}

// OfferTLS returns a copy of config as clients are served with: it names the
// protocol (a client that names none is served as well), keeps record sizes even,
// and gives out no tickets: no client of this protocol comes back with one, and
// PostgreSQL gives none either.
func OfferTLS(config *tls.Config) *tls.Config {
	config = config.Clone()
	if len(config.NextProtos) == 0 {
		config.NextProtos = []string{ALPN}
	}
	config.DynamicRecordSizingDisabled = true
	config.SessionTicketsDisabled = true
	return config
}

// ServeTLS starts TLS as the server of a client's connection and completes the
// handshake, with a config of [OfferTLS], which all connections share. The error is
// a *Failure; the connection stays open.
func ServeTLS(ctx context.Context, conn net.Conn, config *tls.Config) (*ClientTLS, error) {
	socket := &underTLS{Conn: conn}
	under := &coalescer{Conn: socket}
	c := &ClientTLS{Conn: tls.Server(under, config), socket: socket, under: under}
	if err := c.HandshakeContext(ctx); err != nil {
		if _, theirs := errors.AsType[*tls.CertificateVerificationError](err); theirs {
			return nil, Fail(KindClientCertificate, "the one that was shown is not trusted", err)
		}
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

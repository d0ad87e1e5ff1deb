package wire

import (
	"crypto/tls"
	"net"
	"sync"
)

// idleReader reads a TLS connection so that nobody keeps a buffer, or a deep
// stack, while nothing comes: await waits, and read gives what await has seen.
// (crypto/tls keeps what it wants of its own: up to the largest record so far.)
type idleReader struct {
	secured *tls.Conn
	under   *dryConn // what secured reads from

	mu   sync.Mutex // one reader at a time, as in tls.Conn itself
	head [1]byte    // the first byte of what read gives next, when has
	has  bool
	err  error // came with the last bytes, and is still to be told
}

// await returns nil when read will give bytes without waiting. readable waits until
// the connection under TLS has bytes or an end; nil leaves the waiting to TLS,
// where nobody can look into the connection without reading it.
func (r *idleReader) await(readable func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has {
		return nil
	}
	if readable != nil {
		r.under.dry = true
		defer func() { r.under.dry, r.under.once = false, false }()
	}
	for r.err == nil {
		n, err := r.secured.Read(r.head[:])
		if n > 0 {
			r.has = true
			r.keep(err)
			return nil
		}
		if err != errDry {
			return err
		}
		if err := readable(); err != nil {
			return err
		}
		r.under.once = true
	}
	err := r.err
	r.err = nil
	return err
}

func (r *idleReader) read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.err; err != nil && !r.has {
		r.err = nil
		return 0, err
	}
	if !r.has || len(p) == 0 {
		return r.secured.Read(p)
	}
	p[0], r.has = r.head[0], false
	if len(p) == 1 || r.err != nil {
		return 1, nil
	}
	// The rest of the record, if it has any: never what must be waited for.
	r.under.dry = true
	n, err := r.secured.Read(p[1:])
	r.under.dry = false
	r.keep(err)
	return 1 + n, nil
}

func (r *idleReader) keep(err error) {
	if err != nil && err != errDry {
		r.err = err
	}
}

// dryConn is the connection under TLS. While it is dry, reading from it gives
// errDry at once, which leaves TLS as it was; once lets one read through. All
// fields belong to the reader.
type dryConn struct {
	net.Conn
	dry, once bool
}

func (c *dryConn) Read(p []byte) (int, error) {
	if c.dry {
		if !c.once {
			return 0, errDry
		}
		c.once = false
	}
	return c.Conn.Read(p)
}

// errDry says that TLS would have to wait. crypto/tls goes on after errors that
// are temporary, as after a deadline that was moved.
var errDry error = dryError{}

type dryError struct{}

func (dryError) Error() string   { return "nothing to read now" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

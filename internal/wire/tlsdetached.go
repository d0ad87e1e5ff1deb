package wire

import (
	"crypto/tls"
	"net"
)

// Detached is a TLS connection whose caller reads and writes the socket himself, and
// never waits for it. One goroutine at a time uses it.
type Detached struct {
	conn   *tls.Conn
	under  *underTLS
	record int // plaintext per record, in bytes; 0: as crypto/tls likes it
	failed error
}

// Detach takes the connection away from its net.Conn, which stays open and is
// used no more; nor is this connection, but through what Detach returns. recv reads
// the socket and gives [ErrDry] when there is nothing now.
func (c *ClientTLS) Detach(recv func([]byte) (int, error)) *Detached {
	return detach(c.Conn, c.socket, recv, maxRecord)
}

// Detach is as [ClientTLS.Detach].
func (u *UpstreamTLS) Detach(recv func([]byte) (int, error)) *Detached {
	return detach(u.Conn, u.socket, recv, 0)
}

func detach(conn *tls.Conn, under *underTLS, recv func([]byte) (int, error), record int) *Detached {
	under.recv = recv
	return &Detached{conn: conn, under: under, record: record}
}

// recordsAtOnce bounds what one Open does for a peer that sends tiny records, each of
// which may have up to 16 in front of it that carry nothing: a few milliseconds.
const recordsAtOnce = 64

// Open reads what the peer has sent into p, as much of it as has come, within bounds;
// ErrDry says that nothing is left, also next to bytes. The end of the stream is io.EOF,
// an end without the peer's goodbye io.ErrUnexpectedEOF; they and every other failure
// come alone, behind the bytes, and for good. After Open the caller sends what Owed gives.
func (d *Detached) Open(p []byte) (n int, err error) {
	if d.failed != nil {
		return 0, d.failed
	}
	for range recordsAtOnce {
		var k int
		k, err = d.conn.Read(p[n:])
		if n += k; n == len(p) || err != nil || len(d.under.out) > 0 {
			break // answers that are owed are not piled up
		}
	}
	if err != nil && err != ErrDry {
		d.failed = err // crypto/tls forgets some
		if n > 0 {
			err = nil
		}
	}
	return n, err
}

// Owed gives the records that reading has caused, the answers to key updates and the
// alert about a broken stream; nil when there are none.
func (d *Detached) Owed() []byte {
	owed := d.under.out
	d.under.out = nil
	return owed
}

// Seal appends the records of p to dst.
func (d *Detached) Seal(dst, p []byte) ([]byte, error) {
	d.under.out = dst
	var err error
	for len(p) > 0 && err == nil {
		n := len(p)
		if d.record > 0 {
			n = min(n, d.record)
		}
		_, err = d.conn.Write(p[:n])
		p = p[n:]
	}
	return d.Owed(), err
}

// SealEnd appends the goodbye to dst: nothing can be sealed after it.
func (d *Detached) SealEnd(dst []byte) []byte {
	d.under.out = dst
	_ = d.conn.CloseWrite() // fails where nothing can be said any more
	return d.Owed()
}

// underTLS is the connection under TLS: the net.Conn, until Detach.
type underTLS struct {
	net.Conn
	recv func([]byte) (int, error) // not nil: detached
	out  []byte                    // what TLS wrote since, for its caller to send
}

func (u *underTLS) Read(p []byte) (int, error) {
	if u.recv != nil {
		return u.recv(p)
	}
	return u.Conn.Read(p)
}

func (u *underTLS) Write(p []byte) (int, error) {
	if u.recv != nil {
		u.out = append(u.out, p...)
		return len(p), nil
	}
	return u.Conn.Write(p)
}

// ErrDry says that there is nothing to read now. crypto/tls goes on after errors
// that are temporary, as after a deadline that was moved.
var ErrDry error = dryError{}

type dryError struct{}

func (dryError) Error() string   { return "nothing to read now" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

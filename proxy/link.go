package proxy

import (
	"io"
	"net"
	"syscall"
	"time"
)

// link is one leg of a session that pumps carry, or that no loop carries yet.
// Reads belong to the leg's pump. Writes to the server belong to whoever the gate
// says, writes to the client to the holder of session.cw.
type link struct {
	conn net.Conn
	// tcp is the connection under conn, also under TLS, and sock its socket; nil in
	// memory.
	tcp  *net.TCPConn
	sock syscall.RawConn
}

// newLink wraps conn, whose socket is base: the same unless conn is TLS.
func newLink(conn, base net.Conn) *link {
	l := &link{conn: conn}
	if t, ok := base.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			l.tcp, l.sock = t, raw
		}
	}
	return l
}

// write writes all of b.
func (l *link) write(b []byte) error {
	_, err := l.conn.Write(b)
	return err
}

// writeUnit writes an injected unit. Its writer need not be the one that writes
// otherwise, and may still be returning from its write when the server has
// answered and the next writer begins.
func (l *link) writeUnit(b []byte) error { return l.write(b) }

// expire ends every read and write that waits on the leg, now and later: the
// first step of a teardown.
func (l *link) expire() { l.conn.SetDeadline(time.Unix(1, 0)) }

// hungUp tells whether the peer has closed its half or broken the connection,
// even when bytes that it sent before are still unread. False in memory, where
// nobody can look.
func (l *link) hungUp() (gone bool) {
	if l.sock != nil {
		// An error means closed already: nothing to see.
		_ = l.sock.Control(func(fd uintptr) { gone = socketHungUp(fd) })
	}
	return gone
}

// closeWrite ends our half of the stream, where the transport has halves.
func (l *link) closeWrite() {
	if h, ok := l.conn.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite() // the peer may have gone first
	}
}

// lingerTime is how long a client may take to read its last message, in time.
const lingerTime = time.Second

// closeAfterLastWord closes so that the peer can read what was written last:
// closing a socket with unread input would send a reset, which may overtake it.
func (l *link) closeAfterLastWord() {
	l.closeWrite()
	l.conn.SetDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, l.conn) // until the peer's end or the deadline
	l.conn.Close()
}

// endRead ends the pump's read for good: the other side of the session has found
// that it is over.
func (l *link) endRead() { l.conn.SetReadDeadline(time.Unix(1, 0)) }

// reader reads a leg for its pump, into a buffer that is large only while reads
// fill it.
type reader struct {
	p    *Proxy
	l    *link
	buf  *[]byte
	last int // bytes of the last read
}

// read gives the next bytes; they are valid until it is called again.
func (r *reader) read() ([]byte, error) {
	if large := r.buf != nil && r.last == len(*r.buf); r.buf == nil || large != (len(*r.buf) == largeBuffer) {
		r.free()
		r.buf = r.p.getBuffer(large)
	}
	n, err := r.l.conn.Read(*r.buf)
	r.last = n
	if n > 0 {
		return (*r.buf)[:n], nil // an error that came with them comes again
	}
	return nil, err
}

// take replaces the buffer by one that n bytes were read into.
func (r *reader) take(buf *[]byte, n int) {
	r.free()
	r.buf, r.last = buf, n
}

func (r *reader) free() {
	if r.buf != nil {
		r.p.putBuffer(r.buf)
		r.buf = nil
	}
}

package proxy

import (
	"io"
	"net"
	"syscall"
	"time"
)

// link is one leg of a session. Reads belong to the leg's pump. Writes to the
// server belong to whoever the gate says, writes to the client to the holder of
// session.cw.
type link struct {
	conn net.Conn
	// raw is set for a plain TCP connection, whose descriptor is read and written
	// without the detour over net.Conn.
	raw syscall.RawConn
	// sock is the TCP socket under conn, also under TLS; nil in memory. Only ever
	// used for looking (peek, poll), through its own callback.
	sock syscall.RawConn

	out     []byte // what onWritable still has to write
	outErr  error
	writeFn func(fd uintptr) bool // onWritable, bound once: binding allocates

	secured *secured // when conn is TLS
}

// newLink wraps conn, whose socket is base: the same unless conn is TLS.
func newLink(conn, base net.Conn) *link {
	l := &link{conn: conn}
	l.writeFn = l.onWritable
	if t, ok := base.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			l.sock = raw
			if rawPath && conn == base {
				l.raw = raw
			}
		}
	}
	if w, ok := conn.(waiter); ok {
		l.secured = newSecured(w, l.sock)
	}
	return l
}

// await waits, with no buffer held, until conn.Read will not wait. It returns at
// once where that cannot be told: the read waits then.
func (l *link) await() error {
	if l.secured == nil {
		return nil
	}
	return l.secured.conn.AwaitRead(l.secured.readable)
}

// write writes all of b. On the raw path it may be called from within a
// callback of the other leg; a write that must wait waits for readiness there,
// until expire.
func (l *link) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if l.raw == nil {
		_, err := l.conn.Write(b)
		return err
	}
	l.out, l.outErr = b, nil
	err := l.raw.Write(l.writeFn)
	l.out = nil
	if l.outErr != nil {
		return l.outErr
	}
	return err
}

// writeUnit writes an injected unit. Its writer need not be the one whose bytes
// go through out, and may still be returning from its write when the server has
// answered and the next writer begins: it has no state in the link.
func (l *link) writeUnit(b []byte) error {
	_, err := l.conn.Write(b)
	return err
}

// onWritable writes what is left of out; false waits until the socket takes more.
func (l *link) onWritable(fd uintptr) bool {
	for len(l.out) > 0 {
		n, err := writeSocket(fd, l.out)
		if n > 0 {
			l.out = l.out[n:]
			continue
		}
		switch err {
		case syscall.EAGAIN:
			return false
		case syscall.EINTR:
		default:
			l.outErr = err
			return true
		}
	}
	return true
}

// expire ends every read and write that waits on the leg, now and later: the
// first step of a teardown, because a callback that waits keeps Close waiting.
func (l *link) expire() { l.conn.SetDeadline(time.Unix(1, 0)) }

// hungUp tells whether the peer has closed its half or broken the connection,
// even when bytes that it sent before are still unread. False in memory, where
// nobody can look.
func (l *link) hungUp() bool { return l.look(socketHungUp) }

// closedUnderneath tells whether a read would give the end of the stream or an
// error: what the pump can miss, because end and last bytes may come in one
// event (trap a). Bytes waiting to be read are no end.
func (l *link) closedUnderneath() bool { return l.look(socketEnded) }

func (l *link) look(see func(fd uintptr) bool) (seen bool) {
	if l.sock != nil {
		// An error means closed already: nothing to see.
		_ = l.sock.Control(func(fd uintptr) { seen = see(fd) })
	}
	return seen
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

// endRead ends the pump's read for good: the stream has ended, and the pump did
// not see it.
func (l *link) endRead() { l.conn.SetReadDeadline(time.Unix(1, 0)) }

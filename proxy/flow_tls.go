package proxy

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"mzcanary/internal/wire"
)

// sealed is TLS on a flow's leg. The loop decrypts what the socket has and writes
// records by itself: an idle session has no goroutine and no buffer of ours, as a
// plain one.
//
// What is to be written is sealed as a whole, so that a write that the socket does not
// take leaves records, not plaintext: they wait here, in their order, and nothing of
// the other leg is read until they are gone.
type sealed struct {
	*wire.Detached
	l   *loop
	dry bool // the last read has emptied the socket
	end bool // our half of the stream ends behind out

	out    []byte // records that wait for room
	outBuf *[]byte
	owed   int // bytes of them that only answer what the peer's TLS has asked for
}

// owedBound is how much a peer may have TLS answer while it reads nothing, in bytes. Each
// answer is to a key update, which others ask for once in many gigabytes.
const owedBound = 4 << 10

var errOwed = errors.New("TLS: the peer asks for new keys again and again and does not read the answers")

// records are the memory of out, as long as a full read makes them.
var records = sync.Pool{New: func() any { b := make([]byte, 0, largeBuffer+smallBuffer); return &b }}

// open reads as read does. What TLS keeps of a read is no edge, so it is asked until
// it has nothing; the socket is not, when it was empty before.
func (g *leg) open(b []byte) (int, error) {
	t := g.tls
	if t.owed > owedBound {
		return 0, errOwed
	}
	n, err := t.Open(b)
	if owed := t.Owed(); len(owed) > 0 {
		_ = g.put(owed) // the peer's own loss
		if g.unsent() {
			t.owed += len(owed)
		}
	}
	if err == wire.ErrDry {
		g.ready = false
		if err = nil; n == 0 {
			err = syscall.EAGAIN
		}
	}
	return n, err
}

// recv is what TLS reads the socket by.
func (g *leg) recv(b []byte) (int, error) {
	if g.tls.dry && !g.hup {
		return 0, wire.ErrDry
	}
	for {
		n, err := readSocket(uintptr(g.fd), b)
		switch {
		case n > 0:
			g.tls.dry = n < len(b)
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			g.tls.dry = true
			return 0, wire.ErrDry
		default:
			return 0, err
		}
	}
}

// seal writes all of b as records; those that find no room wait.
func (g *leg) seal(b []byte) (int, error) {
	t := g.tls
	made, err := t.Seal(t.l.scratch[:0], b)
	t.l.scratch = made[:0]
	if err == nil {
		err = g.put(made)
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// put writes records, behind those that wait.
func (g *leg) put(made []byte) error {
	t := g.tls
	if len(t.out) == 0 {
		n, err := g.send(made)
		if err != nil || n == len(made) {
			return err
		}
		made = made[n:]
		t.outBuf = records.Get().(*[]byte)
		t.out = (*t.outBuf)[:0]
	}
	t.out = append(t.out, made...)
	return nil
}

// unsent: records wait for room.
func (g *leg) unsent() bool { return g.tls != nil && len(g.tls.out) > 0 }

// flush goes on with the records that wait.
func (g *leg) flush() error {
	t := g.tls
	n, err := g.send(t.out)
	if t.out = t.out[n:]; len(t.out) > 0 && err == nil {
		return nil
	}
	t.free()
	if t.end && err == nil {
		shutdownSocket(g.fd)
	}
	return err
}

func (t *sealed) free() {
	t.out, t.owed = nil, 0
	if t.outBuf != nil {
		records.Put(t.outBuf)
		t.outBuf = nil
	}
}

// closeWrite ends our half of the stream, behind what was written.
func (g *leg) closeWrite() {
	if g.tls != nil {
		g.bye()
		if g.tls.end = g.unsent(); g.tls.end {
			return
		}
	}
	shutdownSocket(g.fd)
}

// bye says goodbye in TLS. It is lost where nothing can be written now.
func (g *leg) bye() {
	made := g.tls.SealEnd(g.tls.l.scratch[:0])
	g.tls.l.scratch = made[:0]
	_ = g.put(made)
}

// leaveTLS gives TLS up. What was not written is lost, and what is read from now on
// is nobody's.
func (g *leg) leaveTLS() {
	if g.tls == nil {
		return
	}
	if !g.unsent() {
		g.bye()
	}
	g.tls.free()
	g.tls = nil
}

package proxy

import (
	"io"
	"syscall"
	"time"

	"mzcanary/internal/wire"
)

// request is what others ask of a flow, in a set.
type request uint16

const (
	askStart  request = 1 << iota
	askGate           // the gate may have opened for the client's message
	askUnit           // posted is to be written to the server
	askWord           // tell the client word and end
	askAbort          // the session is torn down
	askLook           // has the client of a waiting message hung up?
	askForget         // cancels have been waited for long enough
	askNotice         // a notice may be said
	askClose          // the client has had its time to read its last message
)

const (
	legClient = 0
	legServer = 1
)

// leg is one of a flow's sockets. ready and room are kept from one edge until a
// read or write has found the socket empty or full.
type leg struct {
	fd    int
	ready bool // there may be bytes
	room  bool // a write may be taken
	hup   bool // the peer has ended its stream or broken the connection: read on to that end
	over  bool // it is read no more

	tls *sealed // nil: plain
}

// flow is a session on a loop: what the two pumps are to the others. Everything
// in it belongs to the loop's goroutine, but for what loop.mu guards.
//
//	client ──read──▶ gate ──▶ write ──▶ server       in: what waits, at the gate or for room
//	       ◀─write── take ◀─── read ───               out: what waits for room
//
// Whoever has bytes waiting is not read any further, so that a side keeps one
// read at most.
type flow struct {
	s      *session
	l      *loop
	client leg
	server leg
	slot   int32

	in       []byte  // of the client; the first admitted of it may be written
	inBuf    *[]byte // in's memory, the pool's
	admitted int
	unit     []byte // an injected unit that goes to the server
	out      []byte // to the client
	outBuf   *[]byte

	// open: the gate is to be asked about in.
	open     bool
	held     bool // in came to the closed gate
	dropping bool // the client's message is being discarded, see drop.go
	alone    bool // and is a message of its own, no batch
	looking  bool // askLook is under way
	started  bool
	ended    bool // torn down
	lingers  bool // the client may still read its last message
	closed   bool
	after    error         // the client's stream ends with it when in is written
	ending   bool          // the last word was said
	cause    *wire.Failure // of that
	timer    *time.Timer   // the limit of an end under way
	cancels  *time.Timer   // of a wait behind cancels

	// Under loop.mu.
	queued bool
	asked  request
	word   *wire.Failure
	posted []byte
}

// readsAtOnce is how many reads that fill the buffer one flow may have before it
// is the others' turn.
const readsAtOnce = 4

// event takes an edge.
func (f *flow) event(which int32, events uint32) {
	g := &f.client
	if which == legServer {
		g = &f.server
	}
	if events&edgeIn != 0 {
		g.ready = true
		if g.tls != nil {
			g.tls.dry = false
		}
	}
	if events&edgeOut != 0 {
		g.room = true
	}
	if events&edgeEnd != 0 {
		g.ready, g.hup = true, true
		f.lookLater()
	}
	f.work()
}

// serve does what was posted.
func (f *flow) serve(asked request, word *wire.Failure, unit []byte) {
	if !f.started {
		if asked&askStart == 0 {
			f.asksLater(asked, word, unit) // it was known before it was on the loop
			return
		}
		f.started = true
		if err := f.l.watch(f); err != nil {
			asked |= askAbort
		}
	}
	if unit != nil {
		f.unit = append(f.unit, unit...)
	}
	if word != nil && (f.ending || f.ended || f.s.stillEnds(word)) {
		f.lastWord(word)
	}
	if asked&askNotice != 0 && !f.ended && !f.ending {
		f.s.notify()
	}
	if asked&askAbort != 0 {
		f.teardown()
	}
	if asked&askClose != 0 {
		f.close()
	}
	if asked&askForget != 0 && f.cancels != nil {
		f.stopWaiting()
		f.s.forgetCancels()
		f.open = true
	}
	if asked&askLook != 0 {
		f.look()
	}
	f.open = f.open || asked&askGate != 0 && len(f.in) > 0
	f.work()
}

// work does what can be done now, in both directions.
func (f *flow) work() {
	if f.ended {
		f.linger()
		return
	}
	for range readsAtOnce {
		if f.serverCan() {
			f.workServer()
		}
		if f.clientCan() {
			f.workClient()
		}
		if f.ended || !f.serverCan() && !f.clientCan() {
			return
		}
	}
	f.l.post(f, 0) // the rest when the others had their turn
}

// clientCan: something of the client's can be done now.
func (f *flow) clientCan() bool {
	switch {
	case len(f.unit) > 0 || f.admitted > 0 || f.server.unsent():
		return f.server.room
	case f.client.over || f.ending:
		return false
	case len(f.in) > 0:
		return f.open
	}
	return f.client.ready
}

// workClient writes what waits for the server, takes what waits at the gate
// past it, or reads the client once.
func (f *flow) workClient() {
	switch {
	case f.server.unsent():
		if err := f.server.flush(); err != nil && !f.client.over {
			f.clientEnds(&serverError{err})
		}
		return
	case len(f.unit) > 0:
		f.writeUnit()
		return
	case f.admitted > 0:
		f.writeAdmitted()
		return
	case len(f.in) > 0:
		f.open = false
		f.gate(f.in)
	default:
		n, err := f.client.read(*f.l.buf)
		if err == syscall.EAGAIN {
			return
		}
		if err != nil {
			f.clientEnds(err)
			return
		}
		f.gate((*f.l.buf)[:n])
	}
}

// serverCan and workServer are the same for the other direction.
func (f *flow) serverCan() bool {
	if len(f.out) > 0 || f.client.unsent() {
		return f.client.room
	}
	return f.server.ready && !f.server.over && !f.ending
}

func (f *flow) workServer() {
	if len(f.out) > 0 || f.client.unsent() {
		f.writeOut()
		return
	}
	n, err := f.server.read(*f.l.buf)
	if err == syscall.EAGAIN {
		return
	}
	if err == nil {
		err = f.s.relay((*f.l.buf)[:n])
	}
	if err != nil {
		f.serverEnds(err)
	}
}

// read reads once. A short read has emptied the socket, so that whatever comes
// next is an edge of its own; after the end of the stream was seen there is
// none, and reading goes on to it. The end is io.EOF.
func (g *leg) read(b []byte) (int, error) {
	if g.tls != nil {
		return g.open(b)
	}
	for {
		n, err := readSocket(uintptr(g.fd), b)
		switch {
		case n > 0:
			g.ready = n == len(b) || g.hup
			return n, nil
		case err == nil:
			return 0, io.EOF
		case err == syscall.EINTR:
		default:
			g.ready = false
			return 0, err
		}
	}
}

// write writes as much as the socket takes; less than all of b means that its
// next room is an edge. Of TLS it takes all: what does not go out is unsent.
func (g *leg) write(b []byte) (int, error) {
	if g.tls != nil && len(b) > 0 {
		return g.seal(b)
	}
	return g.send(b)
}

// send is write on the socket itself.
func (g *leg) send(b []byte) (n int, err error) {
	for n < len(b) {
		k, err := writeSocket(uintptr(g.fd), b[n:])
		switch {
		case k > 0:
			n += k
		case err == syscall.EAGAIN:
			g.room = false
			return n, nil
		case err == syscall.EINTR:
		default:
			return n, err
		}
	}
	return n, nil
}

// gate takes p, which the client has sent, past the gate as far as that goes
// now. What must wait is kept.
func (f *flow) gate(p []byte) {
	s := f.s
	for len(p) > 0 {
		if f.dropping {
			var err error
			if p, err = f.discard(p); err != nil {
				f.clientEnds(err)
				return
			}
			continue
		}
		if f.held && socketHungUp(uintptr(f.client.fd)) {
			f.clientEnds(errHungUp) // the message it waited for is not sent
			return
		}
		n, v, err := s.admit(p)
		if err != nil {
			f.clientEnds(err)
			return
		}
		if s.terminated {
			p, f.after = p[:n], errTerminated
		}
		sent, err := f.server.write(p[:n])
		if err != nil {
			f.admitted = 0
			s.writing.Store(false)
			f.clientEnds(&serverError{err})
			return
		}
		if sent < n {
			f.keep(p[sent:], n-sent) // it asks again when that is written
			return
		}
		s.writing.Store(false)
		p = p[n:]
		if f.after != nil {
			f.clientEnds(f.after)
			return
		}
		if v == drop {
			f.dropping = true
			if f.alone, err = s.sayCancelled(p[0]); err != nil {
				f.clientEnds(err)
				return
			}
			continue
		}
		if v != pass {
			f.waitFor(v)
			f.keep(p, 0)
			return
		}
	}
	f.held = false
	f.stopWaiting()
	f.free()
}

// waitFor sees to it that the gate is asked again.
func (f *flow) waitFor(v verdict) {
	switch v {
	case inject:
		f.unit = f.s.unitForClient()
		f.open = true // to wait for the unit's answer, or because something changed meanwhile
	case waitCancel:
		if f.cancels == nil {
			f.cancels = time.AfterFunc(cancelSettle, func() { f.l.post(f, askForget) })
		}
	case waitHeld:
		f.held = true
	}
}

// stopWaiting ends what was begun for a wait at the gate.
func (f *flow) stopWaiting() {
	if f.cancels != nil {
		f.cancels.Stop()
		f.cancels = nil
	}
}

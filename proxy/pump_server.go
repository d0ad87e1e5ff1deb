package proxy

import (
	"io"
	"syscall"

	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
)

// clientError marks an error of writing to the client.
type clientError struct{ err error }

func (e *clientError) Error() string { return "writing to the client: " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// serverPump reads the server until its end and writes to the client.
type serverPump struct {
	s     *session
	buf   *[]byte
	err   error
	drain bool
	fn    func(fd uintptr) bool
}

// pumpServer runs until the server's stream ends for the session.
func (s *session) pumpServer() error {
	c := &serverPump{s: s}
	c.fn = c.onReadable
	if s.server.raw == nil {
		return c.portable()
	}
	c.drain = true // see clientPump.read
	err := s.server.raw.Read(c.fn)
	if c.err != nil {
		err = c.err
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

func (c *serverPump) free() {
	if c.buf != nil {
		c.s.p.putBuffer(c.buf)
		c.buf = nil
	}
}

// onReadable relays what the server's socket has. See clientPump.onReadable
// for when a short read is not enough.
func (c *serverPump) onReadable(fd uintptr) bool {
	s := c.s
	c.buf = s.p.getBuffer(false)
	for {
		n, err := readSocket(fd, *c.buf)
		if n <= 0 {
			if err == syscall.EINTR {
				continue
			}
			c.free()
			if err == syscall.EAGAIN {
				c.drain = false
				return false
			}
			if c.err = err; err == nil {
				c.err = io.EOF
			}
			return true
		}
		more, err := s.relay((*c.buf)[:n])
		if err != nil {
			c.free()
			c.err = err
			return true
		}
		full := n == len(*c.buf)
		if !full && !c.drain && !more {
			c.free()
			return false
		}
		if full && len(*c.buf) < largeBuffer {
			c.free()
			c.buf = s.p.getBuffer(true)
		}
	}
}

func (c *serverPump) portable() error {
	defer c.free()
	for large := false; ; {
		if err := c.s.server.await(); err != nil {
			return err
		}
		c.buf = c.s.p.getBuffer(large)
		n, err := c.s.server.conn.Read(*c.buf)
		if n > 0 {
			if _, rerr := c.s.relay((*c.buf)[:n]); rerr != nil {
				return rerr
			}
		}
		if err != nil {
			return err
		}
		large = n == len(*c.buf)
		c.free()
	}
}

// after is what a chunk of the server asks to be done when no lock is held.
type after struct {
	login bool   // the login's ReadyForQuery came: decide, register, let it through
	unit  []byte // to be written to the server: the gate is closed to the client for it
	leave bool   // the session is unmanaged from now on
	join  bool   // the session is managed from now on; behind leave
	more  bool   // the end of the stream is likely to follow
}

// relay shows a chunk of the server to the tracker and writes what is the
// client's to the client.
func (s *session) relay(p []byte) (more bool, err error) {
	s.cw.Lock()
	out, next, err := s.take(p)
	if len(out) > 0 {
		if werr := s.client.write(out); werr != nil && err == nil {
			err = &clientError{werr}
		}
	}
	s.cw.Unlock()
	if s.notice.Load() != nil && err == nil {
		s.notify()
	}
	if err == nil && next.login {
		next.unit, err = s.finishLogin()
	}
	if err == nil && len(next.unit) > 0 {
		err = s.server.writeUnit(next.unit)
	}
	if next.leave {
		s.p.reg.leave(s)
	}
	if next.join {
		s.join()
	}
	return next.more, err
}

// take is relay's look at a chunk: out is what goes to the client, p itself
// unless something of it is swallowed or replaced.
func (s *session) take(p []byte) (out []byte, next after, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := 0
	if s.split != nil {
		if i, out, err = s.takeSplit(p, &next); err != nil {
			return out, next, err
		}
	}
	rest := p[i:]
	for i < len(p) {
		n, step, err := s.fromServer.Next(p[i:])
		if err != nil {
			// What came before the malformed message is the client's.
			s.clientClean = s.clientClean && !s.errorOpen || i > len(p)-len(rest)
			return append(out, rest[:i-(len(p)-len(rest))]...), next, err
		}
		i += n
		if step.End {
			s.serverMessage(&step, &next)
		}
	}
	switch {
	case len(out) == 0:
		out = rest
	case len(rest) > 0:
		out = append(out, rest...)
	}
	partial := s.fromServer.Partial()
	s.track.ServerPartial(partial)
	s.noteUntracked()
	if !s.splitting {
		s.clientClean = !partial && !s.errorOpen
	}
	next.more = next.more || partial
	s.bytesOut += uint64(len(out))
	if s.attn != 0 || s.waiting {
		s.attend()
	}
	return out, next, err
}

// attend looks after what is unusual about the session after the server spoke.
func (s *session) attend() {
	if s.attn&attnReset != 0 && s.track.owed == 0 {
		s.attn &^= attnReset
	}
	if s.waiting && (s.track.owed == 0 || s.track.copying || s.track.reason != ReasonNone || s.track.closing || s.attn&attnFull != 0 && !s.track.Full()) {
		s.wakeClient()
	}
	if s.hold != nil {
		s.settleHold()
	}
}

// serverMessage takes one whole message that goes to the client.
func (s *session) serverMessage(step *wire.Step, next *after) {
	m := ReadServer(*step)
	s.track.Server(m)
	switch step.Type {
	case 'D':
	case 'Z':
		s.errorOpen = false
		s.answered(m.Status, next)
	case 'C':
		s.have.Tag(m.Tag)
	case 'S':
		if name, value, ok := wire.ParseParameter(step.Body); ok {
			s.have.Parameter(name, value)
		}
	case 'E':
		s.serverError(step, m.Fatal)
		next.more = true
	case 'd', 'G', 'H', 'W', 's':
		s.exStream = true
	case 'N':
		s.exStream = s.exStream || m.Subscribe
	}
}

func (s *session) serverError(step *wire.Step, fatal bool) {
	s.have.Failed()
	s.exError, s.errorOpen = true, true
	f := wire.ParseFields(step.Body)
	if s.exClass == armstats.OK {
		s.exClass = armstats.Classify(f.Code, f.Message)
	}
	if fatal {
		s.lastFatal = true
	}
}

// splitter looks at the server's messages one by one: during the login and
// while a unit's answers are swallowed.
type splitter struct {
	msg []byte // the message under way
	out []byte // what goes to the client
}

// splitBound is the longest message looked at whole; logins and answers to
// units have none near it.
const splitBound = 1 << 20

// startSplit makes the server's pump look at messages one by one.
func (s *session) startSplit() {
	s.splitting = true
	if s.split == nil {
		s.split = &splitter{}
	}
}

// takeSplit consumes p until it ends or messages need no longer be looked at
// one by one.
func (s *session) takeSplit(p []byte, next *after) (i int, out []byte, err error) {
	sp := s.split
	for i < len(p) && s.splitting && err == nil {
		n, step, serr := s.fromServer.Next(p[i:])
		sp.msg = append(sp.msg, p[i:i+n]...)
		i += n
		switch {
		case serr != nil:
			err = serr
		case len(sp.msg) > splitBound:
			err = wire.Fail(wire.KindUpstreamProtocol, "a message of more than 1 MiB where none can be", nil)
		case !step.End:
		case s.running != nil:
			err = s.unitMessage(&step, next)
			sp.msg = sp.msg[:0]
		default:
			s.loginMessage(&step, next)
			sp.msg = sp.msg[:0]
		}
	}
	out, sp.out = sp.out, nil
	if !s.splitting {
		s.split = nil
	}
	return i, out, err
}

package proxy

import (
	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
)

// clientError marks an error of writing to the client.
type clientError struct{ err error }

func (e *clientError) Error() string { return "writing to the client: " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// pumpServer reads the server until its stream ends for the session, writes to
// the client, and says why it ended.
func (s *session) pumpServer() error {
	r := reader{p: s.p, l: s.server}
	defer r.free()
	for {
		p, err := r.read()
		if err != nil {
			return err
		}
		if err := s.relay(p); err != nil {
			return err
		}
	}
}

// after is what a chunk of the server asks to be done when no lock is held.
type after struct {
	login bool   // the login's ReadyForQuery came: decide, register, let it through
	unit  []byte // to be written to the server: the gate is closed to the client for it
	leave bool   // the session is unmanaged from now on
	join  bool   // the session is managed from now on; behind leave
}

// relay shows a chunk of the server to the tracker and writes what is the
// client's to the client.
func (s *session) relay(p []byte) error {
	s.cw.Lock()
	out, next, err := s.take(p)
	if werr := s.toClient(out); werr != nil && err == nil {
		err = &clientError{werr}
	}
	s.cw.Unlock()
	if s.notice.Load() != nil && err == nil {
		s.notify()
	}
	if err == nil && next.login {
		next.unit, err = s.finishLogin()
	}
	if err == nil && len(next.unit) > 0 {
		err = s.sendUnit(next.unit)
	}
	if next.leave {
		s.p.reg.leave(s)
	}
	if next.join {
		s.join()
	}
	return err
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
	s.bytesOut += uint64(len(out))
	if s.attn != 0 || s.waiting {
		s.attend()
	}
	return out, next, err
}

// attend looks after what is unusual about the session after the server spoke.
func (s *session) attend() {
	if s.attn&attnReset != 0 && s.track.owed == 0 && !s.track.unsynced() {
		s.attn &^= attnReset
	}
	if s.waiting && (s.track.owed == 0 || s.track.copying || s.track.reason != ReasonNone || s.track.closing || s.attn&attnFull != 0 && !s.track.Full()) {
		s.wakeClient()
	}
	if s.hold != nil {
		s.settleHold()
	} else if s.attn&attnCursor != 0 && s.track.status == 'I' {
		s.leavesCursor()
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
		s.forgetPrepared(m.Tag)
	case 'S':
		if name, value, ok := wire.ParseParameter(step.Body); ok {
			s.have.Parameter(name, value)
		} else {
			s.have.Unreadable(step.Body)
		}
	case 'E':
		s.serverError(step, m.Fatal)
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

// body is that of the whole message: a step shows no more than a beginning.
func (sp *splitter) body() []byte { return sp.msg[5:] }

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

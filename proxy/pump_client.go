package proxy

import (
	"errors"
	"time"
)

// Why the client's pump ends, besides errors of the two sockets.
var (
	errTerminated = errors.New("the client said Terminate")
	errEnded      = errors.New("the session is being ended")
	errHungUp     = errors.New("the client hung up")
)

// serverError marks an error of writing to the server: the server's pump is
// the one to say what became of it.
type serverError struct{ err error }

func (e *serverError) Error() string { return "writing to the server: " + e.err.Error() }
func (e *serverError) Unwrap() error { return e.err }

// pumpClient reads the client, and carries what it sends past the gate, until
// its stream ends for the session. It says why.
func (s *session) pumpClient() error {
	r := reader{p: s.p, l: s.client}
	defer r.free()
	for {
		p, err := s.readClient(&r)
		if err != nil {
			return err
		}
		if err := s.carry(p); err != nil {
			return err
		}
	}
}

// readClient reads, or takes over what was read while the pump waited at the
// gate.
func (s *session) readClient(r *reader) ([]byte, error) {
	a := s.ahead
	if a == nil {
		return r.read()
	}
	select {
	case <-a.done:
	case <-s.done:
		return nil, errEnded
	}
	s.ahead = nil
	r.take(a.buf, a.n)
	if a.n > 0 {
		return (*a.buf)[:a.n], nil
	}
	return nil, a.err
}

// toServer writes what admit let through.
func (s *session) toServer(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	err := s.server.write(b)
	s.writing.Store(false)
	if err != nil {
		return &serverError{err}
	}
	return nil
}

// carry takes p past the gate, however long that takes, and writes it.
func (s *session) carry(p []byte) error {
	held := false // it has found the gate closed
	for len(p) > 0 {
		if held && s.client.hungUp() {
			return errHungUp // the message it waited for is not sent
		}
		n, v, err := s.admit(p)
		if err != nil {
			return err
		}
		if err := s.toServer(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if s.terminated {
			return errTerminated
		}
		switch v {
		case pass:
		case stop:
			select {
			case <-s.done: // whoever ends it has a word for the client first
				return errEnded
			case <-s.wake: // or finds that it need not end
			}
		case inject:
			if err := s.retarget(); err != nil {
				return err
			}
		case drop:
			if p, err = s.discard(p); err != nil {
				return err
			}
		default:
			held = held || v == waitHeld
			if err := s.wait(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// listenAfter is how long a message waits before its client is listened to; a
// short wait is not worth a goroutine, and a client that has gone is noticed
// before its message is sent in any case. It is also how often a client that
// has sent more is looked at.
const listenAfter = 20 * time.Millisecond

// askAgain is how long a pump waits at the most before it asks the gate again
// unasked. Every change that could let it on wakes it; this bounds what a
// forgotten one could do.
const askAgain = time.Second

// wait waits at the gate until it may have opened. errHungUp: its client has
// gone meanwhile.
func (s *session) wait(v verdict) error {
	look := time.NewTimer(listenAfter)
	defer look.Stop()
	if s.client.sock == nil {
		s.listen() // nobody can look into it without reading
	}
	limit := time.NewTimer(askAgain)
	defer limit.Stop()
	if v == waitCancel {
		limit.Reset(cancelSettle)
	}
	for {
		var heard <-chan struct{}
		if s.ahead != nil && !s.ahead.taken {
			heard = s.ahead.done
		}
		select {
		case <-s.wake:
			return nil
		case <-s.done:
			return errEnded
		case <-limit.C:
			if v == waitCancel {
				s.forgetCancels()
			}
			return nil
		case <-look.C:
			s.listen()
			if s.client.hungUp() {
				return errHungUp
			}
			if s.client.sock != nil && s.ahead.taken {
				look.Reset(listenAfter) // the end may lie behind what was read ahead
			}
		case <-heard:
			if s.ahead.err != nil {
				return errHungUp
			}
			s.ahead.taken = true
			look.Reset(listenAfter)
		}
	}
}

// ahead is one read of the client that runs while a message of it waits at the
// gate, so that a client that hangs up is noticed. Its bytes are the pump's
// next ones.
type ahead struct {
	buf   *[]byte
	n     int
	err   error
	taken bool // the pump knows that bytes came
	done  chan struct{}
}

// listen starts reading ahead, once. The reader ends with the session at the
// latest: abort expires the deadline it waits under.
func (s *session) listen() {
	if s.ahead != nil {
		return
	}
	a := &ahead{buf: s.p.getBuffer(false), done: make(chan struct{})}
	s.ahead = a
	s.p.wg.Go(func() {
		defer close(a.done)
		a.n, a.err = s.client.conn.Read(*a.buf)
		if a.n > 0 {
			a.err = nil // it comes again
		}
	})
}

package proxy

import (
	"io"

	"mzcanary/internal/wire"
)

// sayCancelled answers a message of this type, which waited at the gate, with
// the error of a cancelled statement. alone: it is a message of its own, not the
// beginning of a batch that goes on to its Sync.
func (s *session) sayCancelled(kind byte) (alone bool, err error) {
	return kind == 'Q' || kind == 'F', s.say(wire.AppendError(nil, wire.Notice{
		Severity: "ERROR", Code: "57014", Message: "canceling statement due to user request",
		Detail: "It was waiting for a rollout to release this session and was not sent to the server.",
	}))
}

// discard answers the message at the beginning of p, which waited at the gate,
// with the error of a cancelled statement, and takes off it what a server would
// discard after that: a Query, or an extended batch to its Sync. What has not
// been read yet of it is read here. It returns what is left of p.
func (s *session) discard(p []byte) ([]byte, error) {
	alone, err := s.sayCancelled(p[0])
	if err != nil {
		return nil, err
	}
	var own *[]byte
	defer func() {
		if own != nil {
			s.p.putBuffer(own)
		}
	}()
	for {
		for len(p) > 0 {
			n, step, err := s.fromClient.Next(p)
			if err != nil {
				return nil, err
			}
			p = p[n:]
			if step.End && step.Type == 'X' {
				return nil, errHungUp
			}
			if step.End && (alone || step.Type == 'S') {
				if err := s.say(wire.AppendReady(nil, 'I')); err != nil {
					return nil, err
				}
				s.droppedGone()
				if own != nil {
					p = append([]byte(nil), p...) // own goes back to the pool
				}
				return p, nil
			}
		}
		next, err := s.readMore(&own)
		if err != nil {
			return nil, err
		}
		p = next
	}
}

// readMore reads the client outside the pump's loop.
func (s *session) readMore(own **[]byte) ([]byte, error) {
	if a := s.ahead; a != nil {
		select {
		case <-a.done:
		case <-s.done:
			return nil, errEnded
		}
		s.ahead = nil
		if *own != nil {
			s.p.putBuffer(*own)
		}
		*own = a.buf
		if a.n == 0 && a.err == nil {
			return nil, io.EOF
		}
		return (*a.buf)[:a.n], a.err
	}
	if *own == nil {
		*own = s.p.getBuffer(false)
	}
	n, err := s.client.conn.Read(**own)
	if n > 0 {
		return (**own)[:n], nil
	}
	return nil, err
}

// say writes to the client between the server's messages.
func (s *session) say(b []byte) error {
	s.cw.Lock()
	defer s.cw.Unlock()
	return s.toClient(b)
}

// toClient writes to the client; in a flow it never waits. Under cw.
func (s *session) toClient(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if s.flow != nil {
		return s.flow.toClient(b)
	}
	return s.client.write(b)
}

// droppedGone: the message that waited has been answered here.
func (s *session) droppedGone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heldMessageLost()
}

package proxy

import (
	"errors"
	"io"
	"syscall"
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

// clientPump reads the client until its end. What may go on at once is written
// to the server within the read; what must wait at the gate is carried outside
// of it.
type clientPump struct {
	s     *session
	buf   *[]byte // from the proxy's pool while bytes are in it
	rest  []byte  // of buf: not yet admitted
	held  bool    // rest came to the closed gate
	err   error
	drain bool // read on to EAGAIN or the end, see onReadable
	fn    func(fd uintptr) bool
}

// pumpClient runs until the client's stream ends for the session, and says why.
func (s *session) pumpClient() error {
	c := &clientPump{s: s}
	c.fn = c.onReadable
	for {
		if err := c.read(); err != nil {
			return err
		}
		if len(c.rest) > 0 {
			err := s.carry(c.rest, c.held)
			c.rest = nil
			c.free()
			if err != nil {
				return err
			}
		}
	}
}

func (c *clientPump) free() {
	if c.buf != nil {
		c.s.p.putBuffer(c.buf)
		c.buf = nil
	}
}

// read reads and forwards until something must wait (c.rest) or the stream ends.
func (c *clientPump) read() error {
	if a := c.s.ahead; a != nil {
		return c.readAhead(a)
	}
	if c.s.client.raw == nil {
		return c.readPortable()
	}
	// Entering resets the poller's readiness: an edge that came in between is
	// lost unless the first reads go on to EAGAIN (trap d).
	c.drain, c.err = true, nil
	err := c.s.client.raw.Read(c.fn)
	if c.err != nil || len(c.rest) > 0 {
		return c.err
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// onReadable is called by the runtime when the client's socket may have bytes;
// false waits for the next edge, with no buffer held.
func (c *clientPump) onReadable(fd uintptr) bool {
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
		if err := c.forward((*c.buf)[:n]); err != nil {
			c.free()
			c.err = err
			return true
		}
		if len(c.rest) > 0 {
			return true // with its buffer
		}
		full := n == len(*c.buf)
		// A short read means the socket is empty, and the next bytes make an edge.
		// The end of the stream need not: it can have come in the same event
		// (trap a). Where it is likely, read on until it shows.
		if !full && !c.drain && !s.fromClientPartial() {
			c.free()
			return false
		}
		if full && len(*c.buf) < largeBuffer {
			c.free()
			c.buf = s.p.getBuffer(true)
		}
	}
}

// fromClientPartial: the last read ended inside a message. Only the client's
// pump changes that scanner.
func (s *session) fromClientPartial() bool { return s.fromClient.Partial() }

// readPortable is the same for connections that are not plain TCP.
func (c *clientPump) readPortable() error {
	for large := false; ; {
		if err := c.s.client.await(); err != nil {
			return err
		}
		c.buf = c.s.p.getBuffer(large)
		n, err := c.s.client.conn.Read(*c.buf)
		if n > 0 {
			if ferr := c.forward((*c.buf)[:n]); ferr != nil {
				c.free()
				return ferr
			}
			if len(c.rest) > 0 {
				return nil // a read error that came with the bytes comes again
			}
		}
		large = n == len(*c.buf)
		c.free()
		if err != nil {
			return err
		}
	}
}

// readAhead takes over what was read while the pump waited at the gate.
func (c *clientPump) readAhead(a *ahead) error {
	select {
	case <-a.done:
	case <-c.s.done:
		return errEnded
	}
	c.s.ahead = nil
	c.buf = a.buf
	if a.n > 0 {
		if err := c.forward((*a.buf)[:a.n]); err != nil {
			c.free()
			return err
		}
		if len(c.rest) > 0 {
			return nil
		}
	}
	c.free()
	return a.err
}

// forward writes to the server what may go at once and leaves the rest in c.rest.
func (c *clientPump) forward(p []byte) error {
	n, v, err := c.s.admit(p)
	if err != nil {
		return err
	}
	if err := c.s.toServer(p[:n]); err != nil {
		return err
	}
	if c.s.terminated {
		return errTerminated
	}
	c.rest, c.held = p[n:], v == waitHeld
	return nil
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

// carry takes p past the gate, however long that takes, and writes it. held: it
// has already found the gate closed.
func (s *session) carry(p []byte, held bool) error {
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
			<-s.done // whoever ends it has a word for the client first
			return errEnded
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

package proxy

import (
	"context"
	"net"
)

// turnConn lets a bounded number of handshakes compute at the same time: many
// clients that come at once must not keep the processors from the sessions there
// are. A handshake has its turn from when it has read something until it writes or
// reads again; while it waits for its client it has none, so that silent clients
// keep nobody out.
type turnConn struct {
	net.Conn
	turns chan struct{}
	ctx   context.Context // of the handshake; nil behind it
	has   bool
}

func (c *turnConn) take() error {
	select {
	case c.turns <- struct{}{}:
		c.has = true
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

func (c *turnConn) give() {
	if c.has {
		c.has = false
		<-c.turns
	}
}

// end makes it a connection like any other.
func (c *turnConn) end() {
	c.give()
	c.turns, c.ctx = nil, nil
}

// Read implements net.Conn.
func (c *turnConn) Read(b []byte) (int, error) {
	if c.ctx == nil {
		return c.Conn.Read(b)
	}
	c.give()
	n, err := c.Conn.Read(b)
	if err == nil {
		err = c.take()
	}
	return n, err
}

// Write implements net.Conn.
func (c *turnConn) Write(b []byte) (int, error) {
	if c.ctx == nil {
		return c.Conn.Write(b)
	}
	c.give()
	n, err := c.Conn.Write(b)
	if err == nil {
		err = c.take()
	}
	return n, err
}

// CloseWrite implements what links look for.
func (c *turnConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

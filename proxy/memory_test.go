package proxy_test

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memoryPipe gives the two ends of a connection in memory with a buffer each
// way, so that a write waits only when the other end has stopped reading. It
// works inside a testing/synctest bubble.
func memoryPipe() (a, b net.Conn) {
	x, y := newBuffer(), newBuffer()
	return &memoryConn{in: x, out: y}, &memoryConn{in: y, out: x}
}

const memoryBuffer = 64 << 10

// buffer is one direction.
type buffer struct {
	mu      sync.Mutex
	data    []byte
	closed  bool          // no more will be written
	broken  bool          // nobody will read
	changed chan struct{} // closed and replaced at every change
}

func newBuffer() *buffer { return &buffer{changed: make(chan struct{})} }

func (b *buffer) change() {
	close(b.changed)
	b.changed = make(chan struct{})
}

type memoryConn struct {
	in, out *buffer
	mu      sync.Mutex
	read    deadline
	write   deadline
}

// deadline is a time after which operations fail; its channel is closed then.
type deadline struct {
	timer *time.Timer
	over  chan struct{}
	moved chan struct{} // closed and replaced by set; nil until somebody waits
}

func (d *deadline) set(t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	over := make(chan struct{})
	d.over = over
	if d.moved != nil {
		close(d.moved)
		d.moved = nil
	}
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(over)
	default:
		d.timer = time.AfterFunc(wait, func() { close(over) })
	}
}

// deadlineOf gives the deadline that holds now and how a wait learns of a new one.
func (c *memoryConn) deadlineOf(d *deadline) (over, moved <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.moved == nil {
		d.moved = make(chan struct{})
	}
	return d.over, d.moved
}

func (c *memoryConn) Read(p []byte) (int, error) {
	for {
		over, moved := c.deadlineOf(&c.read)
		select {
		case <-over:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		c.in.mu.Lock()
		if len(c.in.data) > 0 {
			n := copy(p, c.in.data)
			c.in.data = c.in.data[n:]
			c.in.change()
			c.in.mu.Unlock()
			return n, nil
		}
		closed, broken, changed := c.in.closed, c.in.broken, c.in.changed
		c.in.mu.Unlock()
		if broken {
			return 0, net.ErrClosed
		}
		if closed {
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-over:
		case <-moved:
		}
	}
}

func (c *memoryConn) Write(p []byte) (int, error) {
	written := 0
	for {
		over, moved := c.deadlineOf(&c.write)
		select {
		case <-over:
			return written, os.ErrDeadlineExceeded
		default:
		}
		c.out.mu.Lock()
		if c.out.closed || c.out.broken {
			c.out.mu.Unlock()
			return written, io.ErrClosedPipe
		}
		n := min(len(p)-written, memoryBuffer-len(c.out.data))
		if n > 0 {
			c.out.data = append(c.out.data, p[written:written+n]...)
			written += n
			c.out.change()
		}
		changed := c.out.changed
		c.out.mu.Unlock()
		if written == len(p) {
			return written, nil
		}
		select {
		case <-changed:
		case <-over:
		case <-moved:
		}
	}
}

func (c *memoryConn) CloseWrite() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if !c.out.closed {
		c.out.closed = true
		c.out.change()
	}
	return nil
}

func (c *memoryConn) Close() error {
	c.CloseWrite()
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if !c.in.broken {
		c.in.broken = true
		c.in.change()
	}
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.set(t)
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write.set(t)
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return memoryAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory:1" }

// memoryListener accepts what dial makes.
type memoryListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *memoryListener) dial() (net.Conn, error) {
	ours, theirs := memoryPipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

package proxy

import "syscall"

// waiter is a TLS connection, which can be waited on without a buffer.
type waiter interface {
	AwaitRead(readable func() error) error
}

// secured is how a TLS leg waits for bytes: on the socket under it, with no buffer
// and on a shallow stack, so that the collector can halve what a handshake or a
// record has made of it.
type secured struct {
	conn     waiter
	readable func() error // nil where there is no socket: TLS waits by itself then

	sock   syscall.RawConn
	onRead func(fd uintptr) bool // onReadable, bound once
	looked bool
}

func newSecured(conn waiter, sock syscall.RawConn) *secured {
	s := &secured{conn: conn, sock: sock}
	if rawPath && sock != nil {
		s.readable, s.onRead = s.awaitReadable, s.onReadable
	}
	return s
}

// awaitReadable waits until the socket has bytes or an end.
func (s *secured) awaitReadable() error {
	s.looked = false
	return s.sock.Read(s.onRead)
}

// onReadable looks once, because an edge may have come before the wait (trap d),
// and believes the poller then.
func (s *secured) onReadable(fd uintptr) bool {
	if s.looked {
		return true
	}
	s.looked = true
	return socketReadable(fd)
}

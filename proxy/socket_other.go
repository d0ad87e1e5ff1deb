//go:build !linux

package proxy

import (
	"errors"
	"net"
	"syscall"

	"mzcanary/internal/wire"
)

// loopPath is off: every connection is read and written through net.Conn.
const loopPath = false

// What an edge would say.
const (
	edgeIn = 1 << iota
	edgeOut
	edgeEnd
)

func readSocket(uintptr, []byte) (int, error)  { return -1, syscall.EINVAL }
func writeSocket(uintptr, []byte) (int, error) { return -1, syscall.EINVAL }
func duplicate(*net.TCPConn) (int, error)      { return -1, syscall.EINVAL }
func closeSocket(int)                          {}
func shutdownSocket(int)                       {}
func socketHungUp(uintptr) bool                { return false }

// loop is never made.
type loop struct {
	p   *Proxy
	buf *[]byte

	scratch []byte
}

func newLoop(*Proxy) (*loop, error) { return nil, errors.ErrUnsupported }
func (l *loop) post(*flow, request) {}
func (l *loop) run()                {}
func (l *loop) stop()               {}
func (l *loop) watch(*flow) error   { return errors.ErrUnsupported }
func (l *loop) forget(*flow)        {}
func (l *loop) closeLeg(*leg)       {}

func (f *flow) say(*wire.Failure)                        {}
func (f *flow) send([]byte)                              {}
func (f *flow) asksLater(request, *wire.Failure, []byte) {}

package proxy

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loopPath says that event loops carry sessions here.
const loopPath = true

// What an edge says.
const (
	edgeIn  = unix.EPOLLIN | edgeEnd
	edgeOut = unix.EPOLLOUT | unix.EPOLLHUP | unix.EPOLLERR
	edgeEnd = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
)

// readSocket and writeSocket are one recv(2) and one send(2) on a non-blocking
// socket: read and write would pass through the layer of files first. They do not
// tell the scheduler: the calls never wait, and the detour costs more than a small
// copy.
func readSocket(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

func writeSocket(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// duplicate gives a second descriptor of the connection's socket, non-blocking
// like the first.
func duplicate(c *net.TCPConn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if cerr != nil {
		return -1, cerr
	}
	return fd, err
}

func closeSocket(fd int) { unix.Close(fd) }

// shutdownSocket ends our half of the stream; the peer may have gone first.
func shutdownSocket(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) }

// socketHungUp: the peer has closed its half or broken the connection, even
// when bytes that it sent before are still unread.
func socketHungUp(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		n, err := unix.Poll(fds[:], 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	}
}

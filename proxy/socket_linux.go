package proxy

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawPath says that plain TCP is read and written by descriptor here: the loop
// relies on the edge-triggered poller that was studied, Linux's.
const rawPath = true

// readSocket and writeSocket are one read(2) and one write(2) on a non-blocking
// socket. They do not tell the scheduler: the calls never wait, and the detour
// costs more than a small copy.
func readSocket(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

func writeSocket(fd uintptr, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

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

// socketEnded: a read would give the end of the stream or an error.
func socketEnded(fd uintptr) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil {
		return err != unix.EAGAIN && err != unix.EINTR
	}
	return n == 0
}

// socketReadable: a read would not wait; it gives bytes, the end of the stream or
// an error.
func socketReadable(fd uintptr) bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err != unix.EAGAIN
}

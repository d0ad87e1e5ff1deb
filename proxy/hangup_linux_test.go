package proxy_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestClientThatHangsUpAtTheLastMoment: the end of the client's stream arrives
// together with the release.
func TestClientThatHangsUpAtTheLastMoment(t *testing.T) {
	onLoops(t, func(r *rig) {
		for range 50 {
			c, s := r.login()
			h := r.hold(time.Minute)
			c.send(query("INSERT INTO t VALUES (1)"))
			r.waits()
			hangUp(r.t, c.conn)
			h.Release()
			if got := s.expectEnd(); len(got) != 0 {
				r.t.Fatalf("the server got %q", got)
			}
			s.conn.Close()
			c.conn.Close()
			eventually(r.t, "the session is gone", func() bool { return len(r.p.Sessions("")) == 0 })
		}
	})
}

// hangUp ends the stream of a client and waits until the other side's kernel has
// the end: close alone returns before, and under load much before.
func hangUp(t testing.TB, c net.Conn) {
	t.Helper()
	if sealed, ok := c.(*tls.Conn); ok {
		c = sealed.NetConn() // which hangs up without a goodbye
	}
	socket := c.(*net.TCPConn)
	if err := socket.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const finWait2 = 5 // our end was acknowledged, linux/include/net/tcp_states.h
	eventually(t, "the end has arrived", func() bool {
		var info *unix.TCPInfo
		if cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		return info.State == finWait2
	})
}

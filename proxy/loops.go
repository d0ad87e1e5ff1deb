package proxy

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"

	"mzcanary/internal/wire"
)

// loops are the proxy's event loops, begun with the first session that can be
// carried by one.
type loops struct {
	begin sync.Once
	all   []*loop // empty: no session can
	turn  atomic.Uint32
	wg    sync.WaitGroup
}

// count leaves one processor to everything that is no loop: accepting, dialling,
// TLS, the collector. A loop that sleeps in the kernel keeps its processor from
// the scheduler for a while.
func (ls *loops) count() int { return max(1, runtime.GOMAXPROCS(0)-1) }

// next gives the loop of the next session, nil when there is none.
func (ls *loops) next(p *Proxy) *loop {
	ls.begin.Do(func() {
		for range ls.count() {
			l, err := newLoop(p)
			if err != nil {
				p.log.Warn("an event loop could not be made: sessions are carried by goroutines", "error", err)
				return
			}
			ls.all = append(ls.all, l)
			ls.wg.Go(l.run)
		}
	})
	if len(ls.all) == 0 {
		return nil
	}
	return ls.all[int(ls.turn.Add(1))%len(ls.all)]
}

// stop ends them, when they carry nothing any more and nothing can come.
func (ls *loops) stop() {
	ls.begin.Do(func() {})
	for _, l := range ls.all {
		l.stop()
	}
	ls.wg.Wait()
}

// newFlow gives the session to a loop if both its legs are TCP, in the clear or
// under TLS, and descriptors can be had; nil leaves it to the pumps. The connections
// stay open until start, and the flow's own when it is dropped instead.
func (p *Proxy) newFlow(s *session) *flow {
	if !loopPath || s.client.tcp == nil || s.server.tcp == nil {
		return nil
	}
	l := p.loops.next(p)
	if l == nil {
		return nil
	}
	client, err := duplicate(s.client.tcp)
	if err != nil {
		return nil
	}
	server, err := duplicate(s.server.tcp)
	if err != nil {
		closeSocket(client)
		return nil
	}
	f := &flow{s: s, l: l}
	f.client = leg{fd: client, room: true}
	f.server = leg{fd: server, room: true}
	return f
}

// drop undoes newFlow.
func (f *flow) drop() {
	closeSocket(f.client.fd)
	closeSocket(f.server.fd)
}

// detach takes TLS over from conn, where there is any. It may have read more already
// than what it was asked for, which is no edge.
func (g *leg) detach(conn net.Conn, l *loop) {
	t, ok := conn.(interface {
		Detach(recv func([]byte) (int, error)) *wire.Detached
	})
	if ok {
		g.tls = &sealed{Detached: t.Detach(g.recv), l: l}
		g.ready = true
	}
}

// start lets the loop begin. Closing the connections takes their descriptors
// off the runtime's poller, which would otherwise wake for every edge; the flow
// has its own.
func (f *flow) start() {
	s := f.s
	f.client.detach(s.client.conn, f.l)
	f.server.detach(s.server.conn, f.l)
	s.client.tcp.Close()
	s.server.tcp.Close()
	s.client, s.server = nil, nil
	s.p.wg.Add(1)
	f.l.post(f, askStart)
}

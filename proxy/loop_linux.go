package proxy

import (
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mzcanary/internal/wire"
)

// loop carries sessions whose two legs stand on TCP: one goroutine that
// waits for readiness on an epoll instance of its own and does at once whatever
// can be done. Their descriptors are touched by no other goroutine, so nothing
// about them needs a lock, and none can be used after it was closed. Others say
// what they want by post.
//
//	      ┌────────────── events: the flow's legs are read and written ◀──┐
//	wait ─┤                                                               │
//	      └────────────── queue: flows that were posted, each once ───────┘
//
// Events are edges: a flow keeps what they said until a read or write has found
// the socket empty or full, so nothing is ever re-armed.
type loop struct {
	epfd   int
	wakefd int // an eventfd, written to when the loop sleeps
	gatefd int // an epoll instance on the runtime's poller; see park
	file   *os.File
	gate   syscall.RawConn       // gatefd's
	lookFn func(fd uintptr) bool // look, bound once: binding allocates
	seen   int                   // by look
	buf    *[]byte               // every read goes here; a flow that must keep a large one takes it and leaves another
	p      *Proxy
	// scratch is where records are made; what is not sent at once is copied.
	scratch []byte

	// events, flows and free belong to the goroutine. An event names a slot of
	// flows and its generation: one that was fetched before its flow ended and the
	// slot was given away says nothing about the new one.
	events  [128]unix.EpollEvent
	flows   []slot
	free    []int32
	yielded int64 // when the scheduler last had a say
	quick   int   // short parks in a row
	only    bool  // there is one processor: whoever else is to run waits for the loop to park

	mu     sync.Mutex // the last in the order of locks
	queue  []*flow    // posted
	spare  []*flow    // the queue served before, to be reused
	asleep bool       // or about to be: a post must write to wakefd
	ending bool
}

type slot struct {
	f          *flow
	generation int32
}

const (
	// wakeSlot marks the event of wakefd.
	wakeSlot = -1
	// edges is all that is ever asked of a socket. RDHUP comes with the end of the
	// stream even when bytes are still before it.
	edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
)

func newLoop(p *Proxy) (l *loop, err error) {
	l = &loop{p: p, epfd: -1, wakefd: -1, only: runtime.GOMAXPROCS(0) == 1}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	// Edge-triggered: every write is an edge, so its counter is never read.
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: wakeSlot}
	if err = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, l.wakefd, &e); err != nil {
		return nil, err
	}
	if l.gatefd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	_ = unix.SetNonblock(l.gatefd, true) // asks the runtime to poll it
	l.file = os.NewFile(uintptr(l.gatefd), "event loop")
	if err = unix.EpollCtl(l.gatefd, unix.EPOLL_CTL_ADD, l.epfd, &unix.EpollEvent{}); err != nil {
		return nil, err
	}
	if l.gate, err = l.file.SyscallConn(); err != nil {
		return nil, err
	}
	l.lookFn = l.look
	l.buf = p.getBuffer(true)
	return l, nil
}

func (l *loop) close() {
	for _, fd := range []int{l.epfd, l.wakefd} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if l.file != nil {
		l.file.Close()
	}
}

// post asks the loop to look after a flow. Any goroutine may, with any lock.
func (l *loop) post(f *flow, r request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.asked |= r
	if !f.queued {
		f.queued = true
		l.queue = append(l.queue, f)
		l.wake()
	}
}

// wake ends the loop's sleep. Under mu.
func (l *loop) wake() {
	if l.asleep {
		l.asleep = false
		_, _ = unix.Write(l.wakefd, one) // full only when it is awake anyway
	}
}

// one is what wakefd is written.
var one = binary.NativeEndian.AppendUint64(nil, 1)

// stop ends the loop, which must carry nothing any more.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	l.wake()
}

// run is the loop's goroutine.
func (l *loop) run() {
	defer l.close()
	for !l.serveQueue() {
		for _, e := range l.events[:l.wait()] {
			if e.Fd == wakeSlot {
				continue
			}
			at := &l.flows[e.Fd>>1]
			if f := at.f; f != nil && at.generation == e.Pad {
				f.event(e.Fd&1, e.Events)
			}
		}
	}
}

// serveQueue does what was posted, and reports when the loop is to end.
func (l *loop) serveQueue() (end bool) {
	l.mu.Lock()
	queue := l.queue
	l.queue, l.spare = l.spare[:0], nil
	end = l.ending
	l.mu.Unlock()
	for i, f := range queue {
		queue[i] = nil
		l.mu.Lock()
		asked, word, unit := f.asked, f.word, f.posted
		f.asked, f.word, f.posted, f.queued = 0, nil, nil, false
		l.mu.Unlock()
		f.serve(asked, word, unit)
	}
	l.mu.Lock()
	l.spare = queue[:0]
	l.mu.Unlock()
	return end
}

// How the loop waits. Asleep in the kernel it is woken fastest, but keeps its
// processor from the scheduler, whose monitor begins to look at everything every
// 20 µs when a sleep ends an idle spell, and again when it lasts over 10 ms. Parked
// on the runtime's poller it is woken more slowly and disturbs nobody. So it
// sleeps only while waits are short.
//
//	park ── quickParks waits under brief in a row ──▶ sleep ── nothing for shortSleep ──▶ park
const (
	brief      = 500e3 // ns
	quickParks = 16
	shortSleep = 2 // ms
	// yieldEvery is how long the loop keeps its processor without passing through
	// the scheduler, in ns. From 10 ms on the monitor takes it away in every sleep it
	// sees, however short.
	yieldEvery = 4e6
)

// wait gives the number of events, without waiting when something was posted.
func (l *loop) wait() (n int) {
	now := l.p.now()
	if now-l.yielded > yieldEvery || l.only {
		runtime.Gosched()
		l.yielded = now
	}
	l.mu.Lock()
	l.asleep = len(l.queue) == 0 && !l.ending
	asleep := l.asleep
	l.mu.Unlock()
	if !asleep {
		return l.poll(0)
	}
	if l.quick >= quickParks {
		if n = l.poll(shortSleep); n == 0 {
			l.quick = 0
		}
	}
	if n == 0 {
		n = l.park()
		l.yielded = l.p.now()
		if l.quick++; l.yielded-now > brief || l.only {
			l.quick = 0
		}
	}
	l.mu.Lock()
	l.asleep = false
	l.mu.Unlock()
	return n
}

// poll is epoll_wait. Only one that may sleep tells the scheduler.
func (l *loop) poll(ms int) int {
	var n uintptr
	var errno syscall.Errno
	events := uintptr(unsafe.Pointer(&l.events[0]))
	if ms != 0 {
		n, _, errno = syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epfd), events, uintptr(len(l.events)), uintptr(ms), 0, 0)
	} else {
		n, _, errno = syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epfd), events, uintptr(len(l.events)), 0, 0, 0)
	}
	if errno != 0 {
		return 0 // EINTR
	}
	return int(n)
}

// park waits for an event as goroutines do, for gate to become readable. gate
// watches the loop's epoll instance for as long as that takes, and only then, or
// each of its edges would wake the runtime's poller too.
func (l *loop) park() int {
	l.watchSelf(unix.EPOLLIN)
	err := l.gate.Read(l.lookFn)
	l.watchSelf(0)
	if err != nil {
		return l.poll(-1) // the runtime cannot wait for it
	}
	return l.seen
}

// look is park's look at the loop's own epoll instance; false waits.
func (l *loop) look(uintptr) bool {
	l.seen = l.poll(0)
	return l.seen > 0
}

// watchSelf sets what gate watches the loop's epoll instance for. It does not
// tell the scheduler, whose monitor would wake for it.
func (l *loop) watchSelf(events uint32) {
	e := unix.EpollEvent{Events: events}
	syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(l.gatefd), unix.EPOLL_CTL_MOD, uintptr(l.epfd), uintptr(unsafe.Pointer(&e)), 0, 0)
}

// watch begins to tell f of its legs' edges.
func (l *loop) watch(f *flow) error {
	if len(l.free) == 0 {
		l.flows = append(l.flows, slot{})
		l.free = append(l.free, int32(len(l.flows)-1))
	}
	f.slot = l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	at := &l.flows[f.slot]
	at.f = f
	for i, leg := range [...]*leg{legClient: &f.client, legServer: &f.server} {
		e := unix.EpollEvent{Events: edges, Fd: f.slot<<1 | int32(i), Pad: at.generation}
		if err := unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, leg.fd, &e); err != nil {
			return err
		}
	}
	return nil
}

// forget gives the flow's slot away; events of it that were fetched already
// find another generation.
func (l *loop) forget(f *flow) {
	at := &l.flows[f.slot]
	at.f = nil
	at.generation++
	l.free = append(l.free, f.slot)
}

// closeLeg closes a descriptor. It is taken off the epoll instance first: a
// child that is being forked may hold the socket open a moment longer.
func (l *loop) closeLeg(g *leg) {
	if g.fd < 0 {
		return
	}
	_ = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_DEL, g.fd, nil) // not yet on it when a start failed
	unix.Close(g.fd)
	g.fd = -1
}

// say asks the loop to tell the client why the session ends, and to end it.
func (f *flow) say(cause *wire.Failure) {
	f.l.mu.Lock()
	if f.word == nil {
		f.word = cause
	}
	f.l.mu.Unlock()
	f.l.post(f, askWord)
}

// send asks the loop to write a unit to the server.
func (f *flow) send(unit []byte) {
	f.l.mu.Lock()
	f.posted = append(f.posted, unit...)
	f.l.mu.Unlock()
	f.l.post(f, askUnit)
}

// asksLater keeps what was asked of a flow that has not started, in front of what was
// asked meanwhile.
func (f *flow) asksLater(asked request, word *wire.Failure, unit []byte) {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	f.asked |= asked
	if word != nil {
		f.word = word // the first counts
	}
	f.posted = append(unit, f.posted...)
}

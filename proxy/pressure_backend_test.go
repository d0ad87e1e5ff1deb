package proxy_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pressureFull says that the pressure tests run at their full size, which takes
// minutes, rather than at one that finds gross mistakes in a second.
func pressureFull() bool { return os.Getenv("MZCANARY_TEST_PRESSURE") == "full" }

// sized gives the size of a pressure test.
func sized(full, small int) int {
	if pressureFull() {
		return full
	}
	return small
}

// mill is a server for many sessions. A Query's first word says what to do:
//
//	PAUSE 20ms   answer after that time
//	ROW n        one row of n bytes
//	ROWS n       n rows of 64 KiB
//	CUT n        the header of a row of n bytes, half of it, and the end
//	HANG         no answer until release
//	anything     answer at once
//
// It decodes nothing else and keeps no more than a small buffer a session.
type mill struct {
	t     testing.TB
	conns sync.WaitGroup
	stop  chan struct{}
	let   chan struct{} // closed: HANG is answered

	phase   atomic.Int64 // first messages of a phase are noted
	queries atomic.Int64
	units   atomic.Int64 // messages that owe a ReadyForQuery
	sent    atomic.Int64 // bytes of rows
	got     atomic.Int64 // bytes of messages

	mu      sync.Mutex
	open    map[net.Conn]struct{}
	arrived []time.Time
	cancels int
}

// newMill serves everything that the rig's proxy dials.
func newMill(r *rig) *mill {
	m := &mill{t: r.t, stop: make(chan struct{}), let: make(chan struct{}), open: make(map[net.Conn]struct{})}
	m.conns.Go(func() {
		for {
			select {
			case conn := <-r.backends:
				m.take(conn)
			case <-m.stop:
				return
			}
		}
	})
	r.t.Cleanup(m.close)
	return m
}

func (m *mill) take(conn net.Conn) {
	m.mu.Lock()
	m.open[conn] = struct{}{}
	m.mu.Unlock()
	m.conns.Go(func() {
		defer func() {
			conn.Close()
			m.mu.Lock()
			delete(m.open, conn)
			m.mu.Unlock()
		}()
		(&millConn{m: m, in: bufio.NewReaderSize(conn, 4<<10), out: bufio.NewWriterSize(conn, 4<<10), phase: m.phase.Load()}).run()
	})
}

func (m *mill) close() {
	close(m.stop)
	m.cut()
	m.conns.Wait()
}

// cut ends all connections.
func (m *mill) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.open {
		conn.Close()
	}
}

// nextPhase begins to note first arrivals anew.
func (m *mill) nextPhase() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arrived = nil
	m.phase.Add(1)
}

// arrivals are the times of the sessions' first messages in this phase.
func (m *mill) arrivals() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]time.Time(nil), m.arrived...)
}

type millConn struct {
	m     *mill
	in    *bufio.Reader
	out   *bufio.Writer
	phase int64
}

func (c *millConn) run() {
	again, err := c.start()
	for again && err == nil {
		again, err = c.start()
	}
	for err == nil {
		if c.in.Buffered() < 5 {
			if err = c.out.Flush(); err != nil {
				return
			}
		}
		err = c.message()
	}
}

// start reads one start-up packet; again: another one follows.
func (c *millConn) start() (again bool, err error) {
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return false, err
	}
	if _, err := c.in.Discard(int(binary.BigEndian.Uint32(head[:])) - 8); err != nil {
		return false, err
	}
	if binary.BigEndian.Uint32(head[4:]) == 80877102 { // CancelRequest
		c.m.mu.Lock()
		c.m.cancels++
		c.m.mu.Unlock()
		return false, io.EOF
	}
	c.put('R', "\x00\x00\x00\x00")
	c.put('S', "cluster\x00prod\x00")
	c.put('S', "search_path\x00prod\x00")
	c.put('S', "mz_version\x00v26.39.0\x00")
	c.put('K', "\x00\x00\x10\x92"+serverSecret)
	c.put('Z', "I")
	return false, nil
}

func (c *millConn) put(kind byte, body string) {
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(4+len(body)))
	c.out.Write(head[:])
	c.out.WriteString(body)
}

func (c *millConn) message() error {
	var head [5]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return err
	}
	if p := c.m.phase.Load(); p != c.phase {
		c.phase = p
		c.m.mu.Lock()
		c.m.arrived = append(c.m.arrived, time.Now())
		c.m.mu.Unlock()
	}
	n := int(binary.BigEndian.Uint32(head[1:])) - 4
	keep := min(n, 1<<10)
	text, err := c.in.Peek(keep)
	if err != nil {
		return err
	}
	word := strings.TrimRight(string(text), "\x00")
	for left := n; left > 0; {
		k, err := c.in.Discard(min(left, 32<<10))
		c.m.got.Add(int64(k))
		if err != nil {
			return err
		}
		left -= k
	}
	switch head[0] {
	case 'X':
		return io.EOF
	case 'P':
		c.put('1', "")
	case 'B':
		c.put('2', "")
	case 'E':
		c.put('C', "SELECT 1\x00")
	case 'S':
		c.m.units.Add(1)
		c.put('Z', "I")
	case 'Q':
		c.m.units.Add(1)
		c.m.queries.Add(1)
		return c.query(word)
	}
	return nil
}

func (c *millConn) query(text string) error {
	word, rest, _ := strings.Cut(text, " ")
	amount, _ := strconv.Atoi(rest)
	switch word {
	case "SET":
		name := "prod"
		if strings.Contains(rest, "prod_deploy") {
			name = "prod_deploy"
		}
		c.put('S', "cluster\x00"+name+"\x00")
		c.put('C', "SET\x00")
		c.put('S', "search_path\x00"+name+"\x00")
		c.put('C', "SET\x00")
		c.put('Z', "I")
		return nil
	case "PAUSE":
		d, err := time.ParseDuration(rest)
		if err != nil {
			return err
		}
		if err := c.out.Flush(); err != nil {
			return err
		}
		select {
		case <-time.After(d):
		case <-c.m.stop:
		}
	case "HANG":
		select {
		case <-c.m.let:
		case <-c.m.stop:
			return io.EOF
		}
	case "ROW":
		if err := c.row(amount, amount); err != nil {
			return err
		}
	case "ROWS":
		for range amount {
			if err := c.row(64<<10, 64<<10); err != nil {
				return err
			}
		}
	case "CUT":
		if err := c.row(amount, amount/2); err != nil {
			return err
		}
		return errors.Join(c.out.Flush(), io.EOF)
	}
	c.put('C', "SELECT 1\x00")
	c.put('Z', "I")
	return nil
}

var zeros [32 << 10]byte

// row writes the header of a DataRow with n bytes behind it, and so many of them.
func (c *millConn) row(n, really int) error {
	var head [5]byte
	head[0] = 'D'
	binary.BigEndian.PutUint32(head[1:], uint32(4+n))
	if _, err := c.out.Write(head[:]); err != nil {
		return err
	}
	for really > 0 {
		k, err := c.out.Write(zeros[:min(really, len(zeros))])
		c.m.sent.Add(int64(k))
		if err != nil {
			return err
		}
		really -= k
	}
	return nil
}

// lean is a client that costs little and keeps nothing.
type lean struct {
	conn net.Conn
	in   *bufio.Reader
}

// leanLogin connects and logs in within the guard. The error tells the
// server's or the proxy's SQLSTATE.
func leanLogin(dial func() (net.Conn, error), user string) (*lean, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(pressureGuard))
	c := &lean{conn: conn, in: bufio.NewReaderSize(conn, 512)}
	err = c.send(startupPacket(user))
	if err == nil {
		_, err = c.await()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// pressureGuard is the guard of what many sessions do at once on a busy machine.
const pressureGuard = 2 * time.Minute

func startupPacket(user string) []byte {
	body := "\x00\x03\x00\x00user\x00" + user + "\x00database\x00materialize\x00cluster\x00prod\x00search_path\x00prod\x00\x00"
	return append(binary.BigEndian.AppendUint32(nil, uint32(4+len(body))), body...)
}

func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body))), body...)
}

func queryMessage(text string) []byte { return message('Q', text+"\x00") }

func (c *lean) send(b []byte) error {
	_, err := c.conn.Write(b)
	return err
}

// await reads to the next ReadyForQuery and counts the bytes of rows.
func (c *lean) await() (rows int64, err error) {
	var head [5]byte
	for {
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			return rows, err
		}
		n := int64(binary.BigEndian.Uint32(head[1:])) - 4
		switch head[0] {
		case 'E':
			body := make([]byte, n)
			if _, err := io.ReadFull(c.in, body); err != nil {
				return rows, err
			}
			return rows, errorOf(body)
		case 'D':
			rows += n
		}
		if _, err := io.CopyN(io.Discard, c.in, n); err != nil {
			return rows, err
		}
		if head[0] == 'Z' {
			return rows, nil
		}
	}
}

// stateError is an ErrorResponse, by its SQLSTATE.
type stateError struct{ code, text string }

func (e *stateError) Error() string { return e.code + ": " + e.text }

func errorOf(body []byte) error {
	e := &stateError{}
	for _, field := range strings.Split(string(body), "\x00") {
		switch {
		case strings.HasPrefix(field, "C"):
			e.code = field[1:]
		case strings.HasPrefix(field, "M"):
			e.text = field[1:]
		}
	}
	return e
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*stateError](err); ok {
		return e.code
	}
	return fmt.Sprint(err)
}

func (c *lean) ask(text string) error {
	if err := c.send(queryMessage(text)); err != nil {
		return err
	}
	_, err := c.await()
	return err
}

func (c *lean) quit() {
	c.send(message('X', ""))
	c.conn.Close()
}

// reset closes with a RST.
func (c *lean) reset() {
	if t, ok := c.conn.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.conn.Close()
}

// loginAll brings n sessions up, a few at a time.
func loginAll(t testing.TB, n int, dial func() (net.Conn, error)) []*lean {
	t.Helper()
	all := make([]*lean, n)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				c, err := leanLogin(dial, "u"+strconv.Itoa(int(i)))
				if err != nil {
					t.Errorf("login %d: %v", i, err)
					return
				}
				all[i] = c
			}
		})
	}
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// usage is what the process holds, in bytes.
type usage struct{ heap, stacks, rss int64 }

func (u usage) minus(v usage) usage {
	return usage{u.heap - v.heap, u.stacks - v.stacks, u.rss - v.rss}
}

func (u usage) String() string {
	return fmt.Sprintf("heap in use %+d KiB, stacks %+d KiB, resident %+d KiB", u.heap>>10, u.stacks>>10, u.rss>>10)
}

// measure gives the process's memory after two collections, because pools keep
// what nobody uses over one; what is free is given back to the system first.
func measure() usage {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := usage{heap: int64(m.HeapInuse), stacks: int64(m.StackInuse)}
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			u.rss = pages * int64(os.Getpagesize())
		}
	}
	return u
}

// settled waits until a number has not moved for a while: whoever moves it is
// blocked.
func settled(t testing.TB, what string, value func() int64) int64 {
	t.Helper()
	deadline := time.Now().Add(pressureGuard)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	last, same := value(), 0
	for same < 10 {
		<-look.C
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come to rest: %d", what, last)
		}
		if v := value(); v == last {
			same++
		} else {
			last, same = v, 0
		}
	}
	return last
}

// gone waits until the proxy has forgotten every session.
func (r *rig) gone() {
	r.t.Helper()
	deadline := time.Now().Add(pressureGuard)
	for n := len(r.p.Sessions("")); n > 0; n = len(r.p.Sessions("")) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d sessions are left", n)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"mzcanary/internal/sim"
	"mzcanary/internal/wire"
	"mzcanary/proxy"
	"mzcanary/router"
)

// childTask names what this test binary does when a test has started it as a
// process of its own.
const childTask = "MZCANARY_TEST_PRESSURE_CHILD"

// startChild runs a task of the test binary in a process of its own, and gives
// the address that it prints. The task ends when its input does; end waits for
// that and fails the test when the task has failed.
func startChild(t *testing.T, task string, options ...string) (addr string, end func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestPressureChild$", "-test.count=1")
	cmd.Env = append(append(os.Environ(), childTask+"="+task), options...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	addr, found := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !found {
		stdin.Close()
		rest, _ := io.ReadAll(out)
		t.Fatalf("the child said %q, %v, %v:\n%s", line, err, cmd.Wait(), rest)
	}
	return addr, func() {
		t.Helper()
		stdin.Close()
		rest, _ := io.ReadAll(out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child: %v\n%s", err, rest)
		}
	}
}

// TestPressureChild is no test of its own: it is what startChild runs.
func TestPressureChild(t *testing.T) {
	switch task := os.Getenv(childTask); task {
	case "":
		t.Skip("skipped: only for the processes that other tests start")
	case "sim":
		childSim(t, sim.Options{})
	case "sim with TLS":
		childSim(t, sim.Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}})
	case "clients with TLS":
		childClients(t)
	case "files":
		childFiles(t)
	default:
		t.Fatalf("no such task: %s", task)
	}
}

// childListen listens and says where.
func childListen(t *testing.T) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("listening on %s\n", ln.Addr())
	return ln
}

func childSim(t *testing.T, o sim.Options) {
	server := sim.New(o)
	setup, err := os.ReadFile(filepath.Join("..", "internal", "sim", "testdata", "conversations", "setup.sql"))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Exec(t.Context(), string(setup)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	ln := childListen(t)
	go func() { served <- server.Serve(ctx, ln) }()
	io.Copy(io.Discard, os.Stdin)
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestIdleSessions: thousands of sessions on a simulated Materialize that do
// nothing. What one costs; that all are moved without a statement, held and
// counted; and that nothing is left of them.
func TestIdleSessions(t *testing.T) {
	n := sized(5000, 200)
	upstream, end := startChild(t, "sim")
	defer end()
	goroutines, files := runtime.NumGoroutine(), descriptors()
	d := shopDeployment()
	d.Clusters = d.Schemas
	s := newStand(t, upstream, func(c *proxy.Config) {
		c.Kind = proxy.Materialize
		c.Table = router.NewTable([]router.Deployment{d})
		c.Limits.Startup = pressureGuard
		c.Log = nil
	})
	dial := func() (net.Conn, error) { return net.Dial("tcp", s.addr) }
	first := loginAll(t, 1, dial)[0] // what is made once
	before := measure()
	begin := time.Now()
	all := loginAll(t, n-1, dial)
	t.Logf("%d logins in %v", n-1, time.Since(begin))
	all = append(all, first)
	grown := measure().minus(before)
	each := func(b int64) int64 { return b / int64(n-1) }
	t.Logf("an idle session, its test client of 0.9 kB included: heap %d B, stacks %d B, resident %d B; %d goroutines",
		each(grown.heap), each(grown.stacks), each(grown.rss), (runtime.NumGoroutine()-goroutines)/n)
	if !raceEnabled && each(grown.heap+grown.stacks) > 20<<10 {
		t.Errorf("an idle session costs %d bytes", each(grown.heap+grown.stacks))
	}

	begin = time.Now()
	s.weigh(100)
	s.becomeMoved(n)
	t.Logf("all were moved without a statement in %v", time.Since(begin))
	begin = time.Now()
	hold, err := s.p.Hold(shop, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	report := hold.Gather(t.Context())
	took := time.Since(begin)
	hold.Release()
	t.Logf("a hold of all took %v, its release %v", took, time.Since(begin)-took)
	if !report.Complete() || report.Held != n {
		t.Errorf("held %d of %d, %d stragglers", report.Held, n, len(report.Stragglers))
	}
	if took > time.Second && !raceEnabled {
		t.Errorf("the hold took %v", took)
	}
	if v := s.p.Survey(shop); v.Sessions != [2]int{0, n} {
		t.Errorf("survey %+v", v)
	}
	for _, c := range all {
		c.quit()
	}
	eventually(t, "the sessions are gone", func() bool { return len(s.p.Sessions("")) == 0 })
	eventually(t, "goroutines and descriptors are back", func() bool {
		return runtime.NumGoroutine() <= goroutines+5 && descriptors() <= files+5
	})
}

// becomeMoved waits until n sessions have what they want, on the canary.
func (s *stand) becomeMoved(n int) {
	s.t.Helper()
	deadline := time.Now().Add(pressureGuard)
	for {
		moved := 0
		for _, i := range s.p.Sessions(shop) {
			if i.Moved && i.Arm == router.Canary {
				moved++
			}
		}
		if moved == n {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d of %d sessions were moved", moved, n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// childClients logs sessions in over TLS, which do nothing then.
func childClients(t *testing.T) {
	addr, count, _ := strings.Cut(os.Getenv(childClientsOf), " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	all := loginAll(t, n, func() (net.Conn, error) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		return wire.ServerTLS{Mode: wire.TLSRequire}.Start(t.Context(), conn)
	})
	fmt.Printf("listening on %s\n", addr)
	io.Copy(io.Discard, os.Stdin)
	for _, c := range all {
		c.quit()
	}
}

const childClientsOf = "MZCANARY_TEST_PRESSURE_CLIENTS" // address and number

// TestIdleSessionsOverTLS: what a session costs that does nothing, with TLS on both
// legs. Clients and server are processes of their own.
func TestIdleSessionsOverTLS(t *testing.T) {
	n := sized(1000, 100)
	upstream, end := startChild(t, "sim with TLS")
	defer end()
	d := shopDeployment()
	d.Clusters = d.Schemas
	s := newStand(t, upstream, func(c *proxy.Config) {
		c.Kind = proxy.Materialize
		c.Table = router.NewTable([]router.Deployment{d})
		c.Limits.Startup = pressureGuard
		c.Log = nil
		c.ClientTLS = &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return wire.ServerTLS{Mode: wire.TLSRequire}.Start(ctx, conn)
		}
	})
	clients := func(n int) (end func()) {
		_, end = startChild(t, "clients with TLS", childClientsOf+"="+s.addr+" "+strconv.Itoa(n))
		return end
	}
	defer clients(1)() // what is made once
	before := measure()
	defer clients(n)()
	grown := measure().minus(before)
	each := func(b int64) int64 { return b / int64(n) }
	t.Logf("an idle session with TLS on both legs: heap %d B, stacks %d B, resident %d B", each(grown.heap), each(grown.stacks), each(grown.rss))
	if !raceEnabled && each(grown.heap+grown.stacks) > 42<<10 {
		t.Errorf("an idle session costs %d bytes", each(grown.heap+grown.stacks))
	}
}

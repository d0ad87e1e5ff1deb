//go:build linux

package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// spareFiles is how many descriptors the child may open beside those it has.
const spareFiles = 20

// childFiles runs a proxy that may open few descriptors, and its server in
// memory, so that all of them are for clients.
func childFiles(t *testing.T) {
	r := newRig(t, true)
	newMill(r)
	ln := childListen(t)
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { served <- r.p.Serve(ctx, ln) }()
	goroutines, files := runtime.NumGoroutine(), descriptors()
	limit := uint64(files - 1 + spareFiles) // less the one that counting needs
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("limited")
	io.Copy(io.Discard, os.Stdin)
	eventually(t, "all sessions are gone", func() bool { return len(r.p.Sessions("")) == 0 })
	eventually(t, "goroutines and descriptors are back", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors() <= files
	})
	if log := r.logs.String(); !strings.Contains(log, "cannot accept connections for now") || !strings.Contains(log, "too many open files") {
		t.Errorf("the proxy never ran out of descriptors, or did not say so:\n%s", log)
	} else if n := strings.Count(log, "cannot accept connections for now"); n > 100 {
		t.Errorf("it said so %d times", n)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestOutOfDescriptors: more clients come than the proxy may open descriptors
// for. Those inside are served on, the others wait and get in as places become
// free; none is lost.
func TestOutOfDescriptors(t *testing.T) {
	t.Cleanup(leaks(t)) // runs last
	addr, end := startChild(t, "files")
	dial := func() (net.Conn, error) { return net.Dial("tcp", addr) }
	n := sized(400, 200)
	in := make(chan *lean, n)
	for i := range n {
		go func() {
			c, err := leanLogin(dial, fmt.Sprint("u", i))
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			in <- c
		}()
	}
	deadline := time.After(pressureGuard)
	inside := 0
	var first *lean
	for range n {
		select {
		case c := <-in:
			if c == nil {
				continue
			}
			if err := c.ask("SELECT 1"); err != nil {
				t.Errorf("a client inside: %v", err)
			}
			if first == nil {
				first = c // stays until the end
				inside++
				continue
			}
			inside++
			c.quit()
		case <-deadline:
			t.Fatalf("%d of %d clients got in", inside, n)
		}
	}
	if first != nil {
		if err := first.ask("SELECT 1"); err != nil {
			t.Errorf("the client that was there all the time: %v", err)
		}
		first.quit()
	}
	if inside != n {
		t.Errorf("%d of %d clients got in", inside, n)
	}
	end()
}

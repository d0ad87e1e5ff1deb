//go:build unix

package main

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"mzcanary/internal/admin"
)

// A collector that goes away takes nothing with it but the lines: the runtime would end a
// program that writes to a broken pipe on its standard error.
func TestServeOutlivesTheReaderOfItsLog(t *testing.T) {
	down, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	config, _, adminAddr := writeConfig(t, down)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "serve", "-c", config)
	cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"=1"), write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for lines, line := bufio.NewReader(read), ""; !strings.Contains(line, "msg=serving"); { // it listens
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	c := admin.NewClient(adminAddr)
	answers := func() bool {
		_, err := c.Status(t.Context(), "shop")
		return err == nil || !strings.Contains(err.Error(), "refused")
	}
	read.Close()
	for range 3 {
		_ = cmd.Process.Signal(syscall.SIGHUP) // is worth a line
		select {
		case err := <-ended:
			t.Fatalf("it ended with its log: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if !answers() {
		t.Error("it does not answer any more")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("its end: %v", err)
		}
	case <-time.After(patience):
		t.Error("it does not end")
	}
}

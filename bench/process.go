//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// process is a program of ours that runs. It ends with this one at the latest.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan error
	log  string
}

// start starts a program; as is the user it runs as, nil for our own.
func start(work, name string, as *syscall.Credential, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(work, name+".log"), done: make(chan error, 1)}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), "MZCANARY_PASSWORD=x")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	return p, nil
}

// awaitListening waits until somebody accepts on every address.
func (p *process) awaitListening(ctx context.Context, addrs ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, addr := range addrs {
		for {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
				break
			}
			select {
			case err := <-p.done:
				p.done <- err
				text, _ := os.ReadFile(p.log)
				return fmt.Errorf("%s ended at once: %w\n%s", p.name, errors.Join(err), text)
			case <-ctx.Done():
				return fmt.Errorf("%s does not answer on %s: %w", p.name, addr, err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

func (p *process) stop() error {
	_ = p.cmd.Process.Kill() // nothing is worth keeping
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("%s (process %d) did not end", p.name, p.cmd.Process.Pid)
	}
}

// cpu is the time that all threads of the process have run, user and system.
func (p *process) cpu() (time.Duration, error) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if len(tasks) == 0 {
		return 0, fmt.Errorf("%s has ended; see %s", p.name, p.log)
	}
	var sum time.Duration
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has just ended
		}
		word, _, _ := bytes.Cut(text, []byte{' '})
		ns, err := strconv.ParseInt(string(word), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// switches is how often the process's threads have gone to sleep.
func (p *process) switches() (sum float64) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	for _, file := range tasks {
		text, _ := os.ReadFile(file) // a thread that has just ended has none
		_, rest, _ := bytes.Cut(text, []byte("\nvoluntary_ctxt_switches:\t"))
		word, _, _ := bytes.Cut(rest, []byte{'\n'})
		n, _ := strconv.ParseFloat(string(word), 64)
		sum += n
	}
	return sum
}

// resident is the memory of the process, in bytes.
func (p *process) resident() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, resident float64
	_, err = fmt.Sscan(string(text), &size, &resident)
	return resident * float64(os.Getpagesize()), err
}

// nobody is who a server runs as that refuses to run as root: the user postgres.
func nobody() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

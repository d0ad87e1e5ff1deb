//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// pgbench is one run of it.
type pgbench struct {
	addr, user string
	sec        security
	clients    int
	mode       string
	duration   time.Duration
	script     string // a file; empty: the built-in SELECT
	env        []string
}

var progressLine = regexp.MustCompile(`^progress: [0-9.]+ s, ([0-9.]+) tps, .* (\d+) failed`)

// run calls begin when all clients are at work and end when they have been for
// the duration, and gives the transactions between the two: connecting is not
// part of it, however long it takes.
func (b pgbench) run(ctx context.Context, begin, end func() error) (transactions, perSecond float64, err error) {
	cmd := b.command(ctx)
	out, err := cmd.StderrPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = cmd.Process.Kill() // it would go on for ever
		_ = cmd.Wait()
	}()
	var began, last time.Time
	var said []byte
	for lines := bufio.NewScanner(out); lines.Scan(); {
		found := progressLine.FindSubmatch(lines.Bytes())
		if found == nil {
			said = append(append(said, lines.Bytes()...), '\n')
			continue
		}
		if string(found[2]) != "0" {
			return 0, 0, fmt.Errorf("pgbench: failed transactions: %s", lines.Bytes())
		}
		now := time.Now()
		if began.IsZero() {
			began, last = now, now
			if err := begin(); err != nil {
				return 0, 0, err
			}
			continue
		}
		rate, _ := strconv.ParseFloat(string(found[1]), 64)
		transactions += rate * now.Sub(last).Seconds()
		if last = now; last.Sub(began) < b.duration-lineJitter {
			continue
		}
		if err := end(); err != nil {
			return 0, 0, err
		}
		if transactions == 0 {
			return 0, 0, errors.New("pgbench: no transactions")
		}
		return transactions, transactions / last.Sub(began).Seconds(), nil
	}
	return 0, 0, errors.Join(fmt.Errorf("pgbench ended: %s", said[max(0, len(said)-600):]), ctx.Err())
}

// lineJitter is how much earlier than its second a line may come.
const lineJitter = 200 * time.Millisecond

func (b pgbench) command(ctx context.Context) *exec.Cmd {
	host, port, _ := net.SplitHostPort(b.addr)
	args := []string{
		"-h", host, "-p", port, "-U", b.user, "-n", "-M", b.mode, "-c", strconv.Itoa(b.clients), "-j", strconv.Itoa(min(2, b.clients)),
		"-T", "3600", "-P", "1",
	}
	if b.script != "" {
		args = append(args, "-f", b.script)
	} else {
		args = append(args, "-S")
	}
	cmd := exec.CommandContext(ctx, "pgbench", append(args, b.user)...)
	cmd.Env = append(append(os.Environ(), b.sec.libpqEnv()), b.env...)
	return cmd
}

// transactions measures the CPU per transaction of pgbench -S.
func (st *stage) transactions(ctx context.Context) error {
	for _, clients := range st.o.clients {
		for _, mode := range st.o.modes {
			for _, p := range st.peers {
				b := pgbench{addr: p.plain, user: "postgres", clients: clients, mode: mode, duration: st.o.duration}
				if err := st.transaction(ctx, p, b, fmt.Sprintf("%s/%d", mode, clients)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (st *stage) transaction(ctx context.Context, p *peer, b pgbench, what string) error {
	per, perSecond, err := st.pgbench(ctx, p, b, what)
	if err != nil {
		return err
	}
	st.results.add("tx/"+what, "us/tx", p.name, per)
	st.results.add("tps/"+what, "tps", p.name, perSecond)
	return nil
}

// tlsClients and tlsMode are what the measure tls does.
const (
	tlsClients = 16
	tlsMode    = "extended"
)

// encrypted measures the CPU per transaction over TLS.
func (st *stage) encrypted(ctx context.Context) error {
	what := fmt.Sprintf("tls/%s/%d", tlsMode, tlsClients)
	for _, p := range st.peers {
		if p.tls == "" {
			st.results.cannot("tx/"+what, p.name, noSSLRequest)
			continue
		}
		b := pgbench{addr: p.tls, sec: viaSSL, user: "postgres", clients: tlsClients, mode: tlsMode, duration: st.o.duration}
		if err := st.transaction(ctx, p, b, what); err != nil {
			return err
		}
	}
	return nil
}

// pgbench gives the proxy's CPU per transaction of a run, in microseconds, and
// the transactions per second.
func (st *stage) pgbench(ctx context.Context, p *peer, b pgbench, what string) (per, perSecond float64, err error) {
	ctx, cancel := st.limited(ctx)
	defer cancel()
	var before, after time.Duration
	begin := func() (err error) { before, err = p.cpu(); return err }
	end := func() (err error) { after, err = p.cpu(); return err }
	var transactions float64
	err = p.profiled(st.o.profiles, what, b.duration, func() (err error) {
		transactions, perSecond, err = b.run(ctx, begin, end)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("through %s: %w", p.name, err)
	}
	time.Sleep(100 * time.Millisecond) // the sessions end before the next sample begins
	return micros(after-before, transactions), perSecond, nil
}

// crowdSizes are compared with each other: what a session costs must not grow
// with their number.
var crowdSizes = [2]int{200, 1000}

// crowds measures the CPU per transaction of many clients of the simulated
// Materialize, which has a goroutine for each of them where PostgreSQL has a process.
func (st *stage) crowds(ctx context.Context) error {
	script := filepath.Join(st.o.work, "crowd.sql")
	if err := os.WriteFile(script, []byte("SELECT 1;\n"), 0o644); err != nil {
		return err
	}
	for _, p := range st.crowd {
		addr, name := p.plain, crowdName(p.name)
		if p.simulator != "" {
			addr = p.simulator
		}
		var per [2]float64
		for i, clients := range crowdSizes {
			b := pgbench{
				addr: addr, user: "materialize", clients: clients, mode: "simple", duration: st.o.duration, script: script,
				env: []string{"PGOPTIONS=--search_path=prod --cluster=prod"},
			}
			cpu, perSecond, err := st.pgbench(ctx, p, b, fmt.Sprintf("crowd/%d", clients))
			if err != nil {
				return err
			}
			per[i] = cpu
			st.results.add(fmt.Sprintf("crowd/%d", clients), "us/tx", name, cpu)
			st.results.add(fmt.Sprintf("crowdtps/%d", clients), "tps", name, perSecond)
		}
		st.results.add(fmt.Sprintf("crowd/%d:%d", crowdSizes[1], crowdSizes[0]), "times", name, per[1]/per[0])
	}
	return nil
}

// crowdName is the column of a proxy before the simulator.
func crowdName(name string) string {
	return strings.TrimSuffix(name, "-simulator")
}

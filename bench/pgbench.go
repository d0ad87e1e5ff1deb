//go:build linux

package main

import (
	"context"
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
	clients    int
	mode       string
	duration   time.Duration
	script     string // a file; empty: the built-in SELECT
	env        []string
}

type pgbenchResult struct {
	transactions, perSecond float64
}

var (
	processedLine = regexp.MustCompile(`number of transactions actually processed: (\d+)`)
	failedLine    = regexp.MustCompile(`number of failed transactions: (\d+)`)
	tpsLine       = regexp.MustCompile(`tps = ([0-9.]+)`)
)

func (b pgbench) run(ctx context.Context) (r pgbenchResult, err error) {
	host, port, _ := net.SplitHostPort(b.addr)
	seconds := strconv.Itoa(max(1, int(b.duration.Seconds())))
	args := []string{"-h", host, "-p", port, "-U", b.user, "-n", "-M", b.mode, "-c", strconv.Itoa(b.clients), "-j", strconv.Itoa(min(2, b.clients)), "-T", seconds}
	if b.script != "" {
		args = append(args, "-f", b.script)
	} else {
		args = append(args, "-S")
	}
	cmd := exec.CommandContext(ctx, "pgbench", append(args, b.user)...)
	cmd.Env = append(os.Environ(), b.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("pgbench: %w: %s", err, tail(out))
	}
	number := func(line *regexp.Regexp) float64 {
		n := 0.0
		if found := line.FindSubmatch(out); found != nil {
			n, _ = strconv.ParseFloat(string(found[1]), 64)
		}
		return n
	}
	if number(failedLine) > 0 || number(processedLine) == 0 {
		return r, fmt.Errorf("pgbench: no transactions, or failed ones: %s", tail(out))
	}
	return pgbenchResult{number(processedLine), number(tpsLine)}, nil
}

// tail is the end of what a program said, where the reason is.
func tail(out []byte) []byte { return out[max(0, len(out)-600):] }

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

// pgbench gives the proxy's CPU per transaction of a run, in microseconds, and
// the transactions per second.
func (st *stage) pgbench(ctx context.Context, p *peer, b pgbench, what string) (per, perSecond float64, err error) {
	ctx, cancel := st.limited(ctx)
	defer cancel()
	var r pgbenchResult
	cpu, err := p.cpuOf(func() error {
		return p.profiled(st.o.profiles, what, b.duration, func() (err error) {
			r, err = b.run(ctx)
			return err
		})
	})
	return micros(cpu, r.transactions), r.perSecond, err
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

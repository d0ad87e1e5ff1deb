//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	work     string // directory for everything that is written
	mzcanary string // the program measured
	before   string // another build of it, to compare with; may be empty
	profiles string // directory for CPU profiles of mzcanary; may be empty

	reps     int
	duration time.Duration // of one sample
	clients  []int
	modes    []string
	only     []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	debug.SetGCPercent(800) // the clients live here: their garbage must not make anybody's latency
	st, err := startStage(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.stop()) }()
	return st.measure(ctx)
}

func parse(args []string) (*options, error) {
	var o options
	var seconds float64
	var clients, modes, only string
	f := flag.NewFlagSet("bench/run.sh", flag.ContinueOnError)
	f.IntVar(&o.reps, "reps", 3, "repetitions; the median counts")
	f.Float64Var(&seconds, "seconds", 4, "length of a sample")
	f.StringVar(&clients, "clients", "1 16 200", "numbers of clients of tx")
	f.StringVar(&modes, "modes", "simple extended prepared", "pgbench's query modes of tx")
	f.StringVar(&only, "only", "", "measures to take, such as \"tx idle\": "+strings.Join(measureNames(), ", ")+" (default all)")
	f.StringVar(&o.before, "before", "", "another mzcanary `program` to measure beside this one")
	f.StringVar(&o.profiles, "profiles", "", "existing `directory` for CPU profiles of mzcanary, one per measure (they cost CPU: not for the record)")
	f.StringVar(&o.work, "work", "", "directory to work in (set by run.sh)")
	f.StringVar(&o.mzcanary, "mzcanary", "", "the program to measure (set by run.sh)")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.duration = time.Duration(seconds * float64(time.Second))
	o.modes, o.only = strings.Fields(modes), strings.Fields(only)
	for _, word := range strings.Fields(clients) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("--clients: %q is no number of clients", word)
		}
		o.clients = append(o.clients, n)
	}
	for _, name := range o.only {
		if !slices.Contains(measureNames(), name) && name != "all" {
			return nil, fmt.Errorf("--only: no measure %q; there are %s", name, strings.Join(measureNames(), ", "))
		}
	}
	if f.NArg() > 0 || o.work == "" || o.mzcanary == "" || o.reps < 1 || o.duration <= 0 {
		return nil, errors.New("usage: bench/run.sh [options]; see bench/run.sh --help")
	}
	return &o, nil
}

// wants tells whether a measure is to be taken.
func (o *options) wants(name string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, name) || slices.Contains(o.only, "all")
}

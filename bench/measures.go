//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// measure is one of the things that --only names. It takes one sample of every
// proxy.
type measure struct {
	name string
	take func(st *stage, ctx context.Context) error
}

var measures = []measure{
	{"tx", (*stage).transactions},
	{"tls", (*stage).encrypted},
	{"bulk", (*stage).bulk},
	{"connect", (*stage).connects},
	{"latency", (*stage).latencies},
	{"idle", (*stage).idle},
	{"crowd", (*stage).crowds},
}

func measureNames() (names []string) {
	for _, m := range measures {
		names = append(names, m.name)
	}
	return names
}

// measure takes every measure once per repetition and prints the results.
func (st *stage) measure(ctx context.Context) error {
	for rep := range st.o.reps {
		for _, m := range measures {
			if !st.o.wants(m.name) {
				continue
			}
			fmt.Fprintf(os.Stderr, "bench: repetition %d of %d: %s\n", rep+1, st.o.reps, m.name)
			if err := m.take(st, ctx); err != nil {
				// What was measured before is worth having.
				return errors.Join(fmt.Errorf("%s: %w", m.name, err), st.results.print(os.Stdout))
			}
		}
	}
	return st.results.print(os.Stdout)
}

// sampleGrace is what a sample may take longer than its length, connecting and a
// loaded machine included: a proxy that hangs must not hang the run.
const sampleGrace = 90 * time.Second

// limited bounds one sample.
func (st *stage) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, st.o.duration+sampleGrace)
}

// micros is a CPU time per thing, in microseconds.
func micros(d time.Duration, things float64) float64 { return float64(d) / 1e3 / things }

// splitStatements splits at the semicolons, of which no statement here has one inside.
func splitStatements(text string) (list []string) {
	for s := range strings.SplitSeq(text, ";") {
		if strings.TrimSpace(s) != "" {
			list = append(list, s)
		}
	}
	return list
}

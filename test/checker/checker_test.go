package checker

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mzcanary/internal/pgtest"
)

// TestMain lets the test binary be the program that is killed.
func TestMain(m *testing.M) {
	file := os.Getenv(ChildEnv)
	if file == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := Serve(ctx, file); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The environment of the suite.
const (
	seedsEnv    = "MZCANARY_TEST_CHECKER_SEEDS"    // how many seeds
	seedEnv     = "MZCANARY_TEST_CHECKER_SEED"     // the first seed, or the only one without MZCANARY_TEST_CHECKER_SEEDS
	parallelEnv = "MZCANARY_TEST_CHECKER_PARALLEL" // runs at a time
	serverEnv   = "MZCANARY_TEST_MATERIALIZE"
)

const (
	defaultSeeds    = 12
	defaultKilled   = 6
	defaultPostgres = 4
	defaultParallel = 4
	runLimit        = 8 * time.Minute
)

func number(t *testing.T, env string, otherwise int) int {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s must be a number, not %q", env, text)
	}
	return n
}

// seeds says which ones to run.
func seeds(t *testing.T, otherwise int) []uint64 {
	t.Helper()
	n := number(t, seedsEnv, 0)
	first := number(t, seedEnv, 0)
	switch {
	case n == 0 && first != 0:
		n = 1
	case n == 0:
		n = otherwise
	}
	first = max(first, 1)
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(first + i)
	}
	return out
}

// tally adds up what many runs did.
type tally struct {
	mu                                        sync.Mutex
	runs, sessions, answers, swaps, lingering int
	struck                                    map[Kind]int
	allowed                                   map[string]int
	rules                                     map[Rule]int
	modes                                     map[string]int
	expected                                  []mode
}

func (a *tally) add(o *Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs++
	a.sessions += o.Report.Sessions
	a.answers += o.Report.Answers
	a.swaps += o.Report.Commits
	a.lingering += o.Report.Lingering
	for k, n := range o.Report.Modes {
		a.modes[k] += n
	}
	for k, n := range o.Struck {
		a.struck[k] += n
	}
	for k, n := range o.Report.Allowed {
		a.allowed[k] += n
	}
	for _, v := range o.Report.Violations {
		a.rules[v.Rule]++
	}
}

func (a *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs, %d sessions, %d exchanges, %d swaps, %d streams over a swap", a.runs, a.sessions, a.answers, a.swaps, a.lingering)
	lines(&b, "by mode", a.modes)
	lines(&b, "faults", a.struck)
	lines(&b, "errors allowed", a.allowed)
	lines(&b, "violations", a.rules)
	return b.String()
}

func lines[K ~string](b *strings.Builder, title string, counts map[K]int) {
	fmt.Fprintf(b, "\n%s:", title)
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(b, " %s %d;", k, counts[k])
	}
}

// check runs scripts, several at a time, and wants every one of them clean.
func check(t *testing.T, scripts []Script, run func(context.Context, Script) (*Outcome, error)) {
	checkOn(t, nil, scripts, run)
}

func checkOn(t *testing.T, server *pgtest.Server, scripts []Script, run func(context.Context, Script) (*Outcome, error)) {
	t.Helper()
	sum := &tally{struck: map[Kind]int{}, allowed: map[string]int{}, rules: map[Rule]int{}, modes: map[string]int{}, expected: modes}
	if server != nil {
		sum.expected = Names{Postgres: true}.modes()
	}
	var wg sync.WaitGroup
	next := make(chan Script)
	for range min(number(t, parallelEnv, defaultParallel), len(scripts)) {
		wg.Go(func() {
			for s := range next {
				ctx, cancel := context.WithTimeout(context.Background(), runLimit)
				out, err := run(ctx, s)
				cancel()
				if out != nil && out.Report != nil {
					sum.add(out)
				}
				switch {
				case out == nil:
					t.Errorf("seed %d: %v", s.Seed, err)
				case err != nil:
					t.Errorf("seed %d: %v\n%s", s.Seed, err, out.Explain())
				case out.Report.Broken() > 0:
					t.Errorf("seed %d: %d violations\n%s", s.Seed, out.Report.Broken(), out.Explain())
				default:
					exercised(t, out)
				}
			}
		})
	}
	for _, s := range scripts {
		next <- s
	}
	close(next)
	wg.Wait()
	t.Log(sum)
	for _, m := range sum.expected {
		if sum.modes[m.name] == 0 && (m.pin == ByWeight || len(scripts) > 1) {
			t.Errorf("mode %q proves nothing: no client of it was ever answered", m.name)
		}
	}
}

// exercised: a run that proves something saw more than one version, and many
// answers.
func exercised(t *testing.T, o *Outcome) {
	t.Helper()
	if len(o.Report.Seen) < 2 || o.Report.Answers < 100 {
		t.Errorf("seed %d proves nothing: %d answers, by version %v\n%s", o.Script.Seed, o.Report.Answers, o.Report.Seen, o.Explain())
	}
}

// TestSeeds runs scripts with faults on the simulated server.
func TestSeeds(t *testing.T) {
	var scripts []Script
	for _, seed := range seeds(t, defaultSeeds) {
		scripts = append(scripts, Draw(seed))
	}
	check(t, scripts, Run)
}

// TestKilled runs scripts in which the program dies by signal 9 in every rollout
// and is started again. What it published after the last look at it is read from
// the journal it left, where it stands before it is published.
func TestKilled(t *testing.T) {
	var scripts []Script
	for _, seed := range seeds(t, defaultKilled) {
		scripts = append(scripts, Killed(seed))
	}
	check(t, scripts, Run)
}

// TestQuiet wants nothing but what a client did itself to be on the allow-list's
// account when no fault strikes.
func TestQuiet(t *testing.T) {
	check(t, []Script{Quiet(1)}, Run)
}

// TestServer runs without faults on a real server.
func TestServer(t *testing.T) {
	dsn := os.Getenv(serverEnv)
	if dsn == "" {
		t.Skip("skipped: " + serverEnv + " names no server to run against")
	}
	check(t, []Script{Quiet(1)}, func(ctx context.Context, s Script) (*Outcome, error) { return RunOn(ctx, s, dsn) })
}

// TestPostgres runs scripts on a server that nobody here wrote: schema pairs, swapped
// and fenced by renames in one transaction, with kills and cut connections.
func TestPostgres(t *testing.T) {
	server := pgtest.Need(t, pgtest.Start)
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	var scripts []Script
	for _, seed := range seeds(t, defaultPostgres) {
		scripts = append(scripts, OnPostgres(seed))
	}
	checkOn(t, server, scripts, func(ctx context.Context, s Script) (*Outcome, error) { return RunPostgres(ctx, s, server.Addr()) })
}

// Without the hold, or without the retarget, the checker must find violations:
// else it proves nothing when it finds none.
func TestFindsMissingHold(t *testing.T)     { finds(t, Unprotected(1, true, false)) }
func TestFindsMissingRetarget(t *testing.T) { finds(t, Unprotected(1, false, true)) }

func finds(t *testing.T, s Script) {
	t.Helper()
	out, err := Run(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	wrong := out.Report.Broken(RuleMixed, RuleOld, RuleArm, RuleBackwards)
	t.Logf("%d violations, %d of them wrong versions, in %d answers", out.Report.Broken(), wrong, out.Report.Answers)
	if wrong == 0 {
		t.Errorf("nothing was found\n%s", out.Explain())
	}
}

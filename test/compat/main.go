package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are what the command line may change.
type options struct {
	server     string        // one kind of server; "" for both
	only       string        // comma-separated groups or driver names; "" for all
	seconds    time.Duration // work of one driver through the proxy
	direct     time.Duration // work of one driver directly
	directOnly bool
	check      bool
	play       bool
	write      bool
	work       string // where logs stay; "" for a directory that is removed
	verbose    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "compat:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("compat", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.server, "server", "", "postgres or materialize (simulated): only this half; writes no table")
	f.StringVar(&o.only, "only", "", "comma-separated groups (go, libpq, psycopg, python, node, java, rust) or drivers; a partial run writes no table")
	f.DurationVar(&o.seconds, "for", 6*time.Second, "how long a driver works through the proxy")
	f.DurationVar(&o.direct, "direct-for", 1500*time.Millisecond, "how long a driver works directly")
	f.BoolVar(&o.directOnly, "direct-only", false, "only the direct runs: tries the suites themselves")
	f.BoolVar(&o.check, "check", false, "only tell whether docs/compatibility.md judged the code that is here")
	f.BoolVar(&o.play, "play", false, "only start the servers and disturb until interrupted, for running a program by hand")
	f.BoolVar(&o.write, "write", true, "write docs/compatibility.md after a full run")
	f.StringVar(&o.work, "work", "", "directory for configuration and logs, kept; default is a temporary one")
	f.BoolVar(&o.verbose, "v", false, "print every check")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.server != "" && !slices.Contains(kinds, o.server) {
		return o, fmt.Errorf("--server: %q is neither postgres nor materialize", o.server)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	root, err := repositoryRoot(ctx)
	if err != nil {
		return err
	}
	table := filepath.Join(root, "docs", "compatibility.md")
	if o.check {
		return checkTable(ctx, root, table, stdout)
	}
	chosen, partial, err := choose(o.only)
	if err != nil {
		return err
	}
	partial = partial || o.server != ""
	rep, err := judgeAll(ctx, o, root, chosen, stdout, stderr)
	if err != nil {
		return err
	}
	if o.play {
		return nil
	}
	if !partial && !o.directOnly && o.write {
		if err := os.WriteFile(table, []byte(rep.markdown()), 0o644); err != nil {
			return fmt.Errorf("write the table: %w", err)
		}
		fmt.Fprintln(stdout, "written: docs/compatibility.md")
	}
	return rep.sum(stdout)
}

// judgeAll builds what is needed and judges one half after the other.
func judgeAll(ctx context.Context, o options, root string, chosen []suite, stdout, stderr io.Writer) (*report, error) {
	began := time.Now()
	work, done, err := workDir(o.work)
	if err != nil {
		return nil, err
	}
	defer done()
	b, err := newBuilder(root, stderr)
	if err != nil {
		return nil, err
	}
	if err := b.prepare(ctx, chosen); err != nil {
		return nil, err
	}
	rep := &report{seconds: o.seconds}
	if rep.digest, err = codeDigest(ctx, root); err != nil { // right before the program is built from it
		return nil, err
	}
	if !o.directOnly {
		if err := b.buildProxy(ctx); err != nil {
			return nil, err
		}
	}
	for _, kind := range kinds {
		if o.server != "" && o.server != kind {
			continue
		}
		h, err := judgeHalf(ctx, o, b, work, kind, chosen, stdout)
		if err != nil {
			return nil, fmt.Errorf("on %s: %w", kind, err)
		}
		rep.halves = append(rep.halves, *h)
	}
	rep.took = time.Since(began)
	return rep, nil
}

// workDir is where configuration and logs go. Under a temporary directory they
// are removed at the end; the server's user must be able to enter it.
func workDir(asked string) (string, func(), error) {
	if asked != "" {
		abs, err := filepath.Abs(asked)
		if err != nil {
			return "", nil, err
		}
		return abs, func() {}, os.MkdirAll(abs, 0o755)
	}
	dir, err := os.MkdirTemp("", "compat")
	if err != nil {
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, os.Chmod(dir, 0o755)
}

// choose finds the suites named by --only.
func choose(only string) (chosen []suite, partial bool, err error) {
	if only == "" {
		return suites(), false, nil
	}
	for _, name := range strings.Split(only, ",") {
		found := false
		for _, s := range suites() {
			if s.group == name || s.name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, false, fmt.Errorf("--only: no group or driver %q", name)
		}
	}
	return chosen, true, nil
}

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
	"strings"
	"syscall"
	"time"
)

// options are what the command line may change.
type options struct {
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

// judgeAll starts the servers, runs every chosen suite both ways and stops them.
func judgeAll(ctx context.Context, o options, root string, chosen []suite, stdout, stderr io.Writer) (rep *report, err error) {
	began := time.Now()
	work, done, err := workDir(o.work)
	if err != nil {
		return nil, err
	}
	defer done()
	pg, err := startPostgres(ctx, work)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pg.stop()) }()
	b, err := newBuilder(root, stderr)
	if err != nil {
		return nil, err
	}
	if err := b.prepare(ctx, chosen); err != nil {
		return nil, err
	}
	digest, err := codeDigest(ctx, root) // right before the program is built from it
	if err != nil {
		return nil, err
	}
	rep = &report{digest: digest, upstream: pg.version, seconds: o.seconds}
	var px *proxyServer
	if !o.directOnly {
		if px, err = startProxy(ctx, b, work, pg); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, px.stop()) }()
		rep.binary = px.version
	}
	fmt.Fprintf(stdout, "ready after %.0f s: %s\n", time.Since(began).Seconds(), pg.version)
	if o.play {
		return rep, px.play(ctx, b, pg, stdout)
	}
	for _, s := range chosen {
		if err := rep.judge(ctx, o, b, s, pg, px, stdout); err != nil {
			return nil, err
		}
	}
	rep.took = time.Since(began)
	return rep, nil
}

// judge runs one suite directly and, when there is a proxy, through it.
func (r *report) judge(ctx context.Context, o options, b *builder, s suite, pg *postgres, px *proxyServer, stdout io.Writer) error {
	direct, err := b.runSuite(ctx, s, pg.target(), o.direct)
	if err != nil {
		return fmt.Errorf("%s directly: %w", s.name, err)
	}
	e := entry{suite: s, direct: direct}
	if px != nil {
		d := px.disturb(ctx)
		e.proxied, err = b.runSuite(ctx, s, px.target(pg), o.seconds)
		e.disturbance = d.stop()
		if err != nil {
			return fmt.Errorf("%s through the proxy: %w", s.name, err)
		}
		if err := px.alive(); err != nil {
			return fmt.Errorf("%s through the proxy: %w", s.name, err)
		}
	}
	e.verdict(px != nil)
	r.entries = append(r.entries, e)
	e.print(stdout, o.verbose)
	return nil
}

// play disturbs until the interrupt, with the environment to run a suite program in.
func (p *proxyServer) play(ctx context.Context, b *builder, pg *postgres, stdout io.Writer) error {
	fmt.Fprintln(stdout, "directly:         ", strings.Join(suiteEnv("play", pg.target(), time.Minute), " "))
	fmt.Fprintln(stdout, "through the proxy:", strings.Join(suiteEnv("play", p.target(pg), time.Minute), " "))
	fmt.Fprintf(stdout, "sessions:          http://127.0.0.1:%d/v1/sessions\nprograms:          %s\n", p.admin, b.cache)
	d := p.disturb(ctx)
	<-ctx.Done()
	fmt.Fprintf(stdout, "%+v\n", d.stop())
	return nil
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

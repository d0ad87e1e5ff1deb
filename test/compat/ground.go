package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// The two kinds of servers; each fills one half of the table.
const (
	onPostgres    = "postgres"
	onMaterialize = "materialize"
)

var kinds = []string{onPostgres, onMaterialize}

// half is everything that was done on one kind of server.
type half struct {
	kind     string
	upstream string // what it ran on, in words
	entries  []entry
	took     time.Duration
}

// ground is a server and the proxy in front of it.
type ground struct {
	server  string // its version, where one half has several
	direct  target
	proxied target
	px      *proxyServer // nil with --direct-only
	close   func() error
}

// grounds starts what one half runs on. The caller closes them also after an error.
func grounds(ctx context.Context, o options, b *builder, work, kind string) (all []*ground, upstream string, err error) {
	open := func(server string, t target, close func() error, config proxyConfig) error {
		g := &ground{server: server, direct: t.via("direct"), close: close}
		all = append(all, g)
		if o.directOnly {
			return nil
		}
		dir := filepath.Join(work, kind+server)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if g.px, err = startProxy(ctx, b, dir, config); err != nil {
			return err
		}
		g.proxied = target{"127.0.0.1", g.px.listen, t.env}.via("proxied")
		return nil
	}
	if kind == onPostgres {
		pg, err := startPostgres(ctx, work)
		if err != nil {
			return nil, "", err
		}
		err = open("", pg.target(), pg.stop, pg.proxyConfig())
		return all, pg.version, err
	}
	var versions []string
	for i := range simulatedVersions {
		s, err := startSimulated(ctx, i)
		if err != nil {
			return all, "", err
		}
		versions = append(versions, s.version)
		if err := open(s.version, s.target(), s.close, s.proxyConfig()); err != nil {
			return all, "", err
		}
	}
	return all, "the simulated Materialize, " + strings.Join(versions, " and "), nil
}

func closeAll(all []*ground) (err error) {
	for _, g := range all {
		if g.px != nil {
			err = errors.Join(err, g.px.stop())
		}
		err = errors.Join(err, g.close())
	}
	return err
}

// judgeHalf starts one kind of servers, runs every chosen suite both ways and stops them.
func judgeHalf(ctx context.Context, o options, b *builder, work, kind string, chosen []suite, stdout io.Writer) (h *half, err error) {
	began := time.Now()
	h = &half{kind: kind}
	all, upstream, err := grounds(ctx, o, b, work, kind)
	defer func() { err = errors.Join(err, closeAll(all)) }()
	if err != nil {
		return nil, err
	}
	h.upstream = upstream
	fmt.Fprintf(stdout, "ready after %.0f s: %s\n", time.Since(began).Seconds(), upstream)
	if o.play {
		return h, play(ctx, b, all, stdout)
	}
	for _, s := range chosen {
		if err := h.judge(ctx, o, b, s, all, stdout); err != nil {
			return nil, err
		}
	}
	h.took = time.Since(began)
	return h, nil
}

// judge runs one suite on all grounds of the half at the same time.
func (h *half) judge(ctx context.Context, o options, b *builder, s suite, all []*ground, stdout io.Writer) error {
	entries := make([]entry, len(all))
	runs, ctx := errgroup.WithContext(ctx)
	for i, g := range all {
		runs.Go(func() (err error) {
			entries[i], err = g.judge(ctx, o, b, s)
			return err
		})
	}
	if err := runs.Wait(); err != nil {
		return err
	}
	h.entries = append(h.entries, entries...)
	for i := range entries {
		entries[i].print(stdout, o.verbose)
	}
	return nil
}

// judge runs one suite directly and, when there is a proxy, through it.
func (g *ground) judge(ctx context.Context, o options, b *builder, s suite) (entry, error) {
	e := entry{suite: s, server: g.server}
	var err error
	if e.direct, err = b.runSuite(ctx, s, g.direct, o.direct); err != nil {
		return e, fmt.Errorf("%s directly: %w", s.name, err)
	}
	if g.px != nil {
		d := g.px.disturb(ctx)
		e.proxied, err = b.runSuite(ctx, s, g.proxied, o.seconds)
		e.disturbance = d.stop()
		if err := errors.Join(err, g.px.alive()); err != nil {
			return e, fmt.Errorf("%s through the proxy: %w", s.name, err)
		}
	}
	e.verdict(g.px != nil)
	return e, nil
}

// play disturbs until the interrupt, with the environment to run a suite program in.
func play(ctx context.Context, b *builder, all []*ground, stdout io.Writer) error {
	var under []*disturber
	for _, g := range all {
		fmt.Fprintln(stdout, "directly:         ", strings.Join(suiteEnv("play", g.direct, time.Minute), " "))
		if g.px != nil {
			fmt.Fprintln(stdout, "through the proxy:", strings.Join(suiteEnv("play", g.proxied, time.Minute), " "))
			fmt.Fprintf(stdout, "sessions:          http://127.0.0.1:%d/v1/sessions\n", g.px.admin)
			under = append(under, g.px.disturb(ctx))
		}
	}
	fmt.Fprintln(stdout, "programs:         ", b.cache)
	<-ctx.Done()
	for _, d := range under {
		fmt.Fprintf(stdout, "%+v\n", d.stop())
	}
	return nil
}

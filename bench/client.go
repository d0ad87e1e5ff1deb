//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"mzcanary/internal/pgtest"
)

// security is how a client protects its connection.
type security int

const (
	plain     security = iota
	viaSSL             // TLS after an SSLRequest
	directTLS          // TLS from the first byte
)

// noSSLRequest is why haproxy has no such row.
const noSSLRequest = "haproxy does not answer an SSLRequest, with which a PostgreSQL client asks for TLS"

// libpqEnv makes a client of libpq, which would try TLS first, do what is measured.
func (s security) libpqEnv() string {
	if s == plain {
		return "PGSSLMODE=disable"
	}
	return "PGSSLMODE=require"
}

// clientConfig is the same for every proxy. TLS is 1.3 with X25519 and without
// resumption: what all of them can do.
func clientConfig(addr string, sec security) (*pgconn.Config, error) {
	options := map[security]string{plain: "sslmode=disable", viaSSL: "sslmode=require", directTLS: "sslmode=require sslnegotiation=direct"}
	config, err := pgconn.ParseConfig(pgtest.DSN(addr, "postgres", options[sec]))
	if err != nil {
		return nil, err
	}
	config.Fallbacks = nil
	if config.TLSConfig != nil {
		config.TLSConfig.MinVersion = tls.VersionTLS13
		config.TLSConfig.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	return config, nil
}

const query = "SELECT abalance FROM pgbench_accounts WHERE aid = 1"

func ask(ctx context.Context, conn *pgconn.PgConn) error {
	results, err := conn.Exec(ctx, query).ReadAll()
	if err == nil && (len(results) != 1 || len(results[0].Rows) != 1) {
		err = fmt.Errorf("%q had no row", query)
	}
	return err
}

// connectClients connect at the same time, each again and again.
const connectClients = 4

// connects measures connections made, used for one statement and closed.
func (st *stage) connects(ctx context.Context) error {
	variants := []struct {
		name string
		sec  security
		addr func(*peer) string
		why  string
	}{
		{"plain", plain, func(p *peer) string { return p.plain }, ""},
		{"tls", viaSSL, func(p *peer) string { return p.tls }, noSSLRequest},
		{"direct-tls", directTLS, func(p *peer) string { return p.directTLS }, "pgbouncer 1.18 knows no TLS from the first byte (sslnegotiation=direct)"},
	}
	for _, v := range variants {
		for _, p := range st.peers {
			if v.addr(p) == "" {
				st.results.cannot("connect/"+v.name, p.name, v.why)
				continue
			}
			if err := st.connect(ctx, p, v.name, p.name, v.addr(p), v.sec); err != nil {
				return err
			}
		}
	}
	if err := st.connect(ctx, st.once, "once", "pgbouncer", st.once.plain, plain); err != nil {
		return err
	}
	for _, p := range st.peers {
		if p.name != "pgbouncer" {
			st.results.same("once", "plain", p.name)
		}
	}
	return nil
}

func (st *stage) connect(ctx context.Context, p *peer, name, column, addr string, sec security) error {
	ctx, cancel := st.limited(ctx)
	defer cancel()
	config, err := clientConfig(addr, sec)
	if err != nil {
		return err
	}
	var made int
	var took time.Duration
	asleep := p.switches()
	cpu, err := p.cpuOf(func() error {
		return p.profiled(st.o.profiles, "connect/"+name, st.o.duration, func() error {
			made, took, err = connectAgainAndAgain(ctx, config, st.o.duration)
			return err
		})
	})
	if err != nil {
		return err
	}
	st.results.add("connect/"+name, "us/connection", column, micros(cpu, float64(made)))
	st.results.add("sleeps/"+name, "times", column, (p.switches()-asleep)/float64(made))
	st.results.add("rate/"+name, "connections/s", column, float64(made)/took.Seconds())
	return nil
}

func connectAgainAndAgain(ctx context.Context, config *pgconn.Config, length time.Duration) (made int, took time.Duration, err error) {
	begin := time.Now()
	var mu sync.Mutex
	var all errgroup.Group
	for range connectClients {
		all.Go(func() error {
			n := 0
			for ; time.Since(begin) < length && ctx.Err() == nil; n++ {
				conn, err := pgconn.ConnectConfig(ctx, config)
				if err != nil {
					return err
				}
				if err := ask(ctx, conn); err != nil {
					return err
				}
				if err := conn.Close(ctx); err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			made += n
			return nil
		})
	}
	err = all.Wait()
	return made, time.Since(begin), err
}

// latencies measures what a proxy adds to the time of a short statement, over a
// connection without one.
func (st *stage) latencies(ctx context.Context) error {
	for _, clients := range []int{1, 16} {
		base, err := st.latency(ctx, st.direct, clients)
		if err != nil {
			return err
		}
		for _, p := range st.peers {
			through, err := st.latency(ctx, p, clients)
			if err != nil {
				return err
			}
			for i, percentile := range []string{"p50", "p99"} {
				st.results.add(fmt.Sprintf("added/%s/%d", percentile, clients), "us", p.name, micros(through[i]-base[i], 1))
			}
		}
		for i, percentile := range []string{"p50", "p99"} {
			st.results.note(fmt.Sprintf("direct %s at %d clients", percentile, clients), "us", micros(base[i], 1))
		}
	}
	return nil
}

// latency gives the 50th and the 99th percentile of clients that ask without pause.
func (st *stage) latency(ctx context.Context, p *peer, clients int) (at [2]time.Duration, err error) {
	ctx, cancel := st.limited(ctx)
	defer cancel()
	config, err := clientConfig(p.plain, plain)
	if err != nil {
		return at, err
	}
	conns, err := connectMany(ctx, config, clients)
	defer closeMany(ctx, conns)
	if err != nil {
		return at, fmt.Errorf("through %s: %w", p.name, err)
	}
	took := make([][]time.Duration, clients)
	var all errgroup.Group
	begin := time.Now()
	for i, conn := range conns {
		all.Go(func() error {
			for last := time.Now(); last.Sub(begin) < st.o.duration && ctx.Err() == nil; {
				if err := ask(ctx, conn); err != nil {
					return err
				}
				now := time.Now()
				took[i] = append(took[i], now.Sub(last))
				last = now
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return at, err
	}
	list := slices.Concat(took...)
	slices.Sort(list)
	return [2]time.Duration{list[len(list)/2], list[len(list)*99/100]}, nil
}

func connectMany(ctx context.Context, config *pgconn.Config, n int) ([]*pgconn.PgConn, error) {
	var mu sync.Mutex
	var conns []*pgconn.PgConn
	var all errgroup.Group
	all.SetLimit(connectClients)
	for range n {
		all.Go(func() error {
			conn, err := pgconn.ConnectConfig(ctx, config)
			if err != nil {
				return err
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			return ask(ctx, conn)
		})
	}
	err := all.Wait()
	return conns, err
}

func closeMany(ctx context.Context, conns []*pgconn.PgConn) {
	var all sync.WaitGroup
	for _, conn := range conns {
		all.Go(func() { conn.Close(ctx) })
	}
	all.Wait()
}

const (
	idleSessions = 1000
	// idleRest is how long they rest before the memory is read.
	idleRest = 2 * time.Second
	// idleLimit is how long all of it may take.
	idleLimit = 5 * time.Minute
)

// idle measures the memory of sessions that rest after a statement, each time
// in a new process of the proxy, whose memory nothing has grown before.
func (st *stage) idle(ctx context.Context) error {
	for _, p := range st.peers {
		encrypted, sec := p.tls, viaSSL
		if encrypted == "" {
			encrypted, sec = p.directTLS, directTLS
		}
		for _, v := range []struct {
			name, addr string
			sec        security
		}{{"plain", p.plain, plain}, {"tls", encrypted, sec}} {
			per, err := p.residentPerSession(ctx, v.addr, v.sec)
			if err != nil {
				return fmt.Errorf("through %s: %w", p.name, err)
			}
			st.results.add("idle/"+v.name, "B/session", p.name, per)
		}
	}
	return nil
}

func (p *peer) residentPerSession(ctx context.Context, addr string, sec security) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, idleLimit)
	defer cancel()
	if err := p.restart(ctx); err != nil {
		return 0, err
	}
	config, err := clientConfig(addr, sec)
	if err != nil {
		return 0, err
	}
	// One first, whose code and tables belong to no session.
	first, err := connectMany(ctx, config, 1)
	closeMany(ctx, first)
	if err != nil {
		return 0, err
	}
	before, err := p.resident()
	if err != nil {
		return 0, err
	}
	conns, err := connectMany(ctx, config, idleSessions)
	defer closeMany(ctx, conns)
	if err != nil {
		return 0, err
	}
	time.Sleep(idleRest)
	after, err := p.resident()
	return (after - before) / idleSessions, err
}

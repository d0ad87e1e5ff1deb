package proxy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/armstats"
	"mzcanary/internal/pgtest"
	"mzcanary/proxy"
	"mzcanary/router"
)

var postgres = sync.OnceValues(func() (*pgtest.Server, error) {
	s, err := pgtest.Start()
	if err != nil {
		return nil, err
	}
	started = s
	return s, seed(s)
})

var started *pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	if started != nil {
		if err := started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// seed makes the two versions: the same names in prod and prod_deploy, each
// answering with its own.
func seed(s *pgtest.Server) error {
	ctx, done := context.WithTimeout(context.Background(), 20*time.Second)
	defer done()
	conn, err := pgx.Connect(ctx, pgtest.DSN(s.Addr(), "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for schema, version := range map[string]string{"prod": "old", "prod_deploy": "new"} {
		_, err := conn.Exec(ctx, fmt.Sprintf(`
			CREATE SCHEMA %[1]s;
			CREATE VIEW %[1]s.answer AS SELECT '%[2]s'::text AS version, k FROM generate_series(1, 1000) AS k;
			CREATE TABLE %[1]s.notes (id int, note text);
			GRANT USAGE ON SCHEMA %[1]s TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA %[1]s TO PUBLIC`, schema, version))
		if err != nil {
			return err
		}
	}
	return nil
}

const shop = "shop"

// shopDeployment is schema prod ↔ prod_deploy.
func shopDeployment() router.Deployment {
	return router.Deployment{Name: shop, Schemas: []router.Pair{{Live: "prod", Deploy: "prod_deploy"}}, Salt: 7, Canary: router.CanaryDeploy}
}

// stand is a proxy under test.
type stand struct {
	t     *testing.T
	p     *proxy.Proxy
	table *router.Table
	stats *armstats.Set
	addr  string
	logs  *logBuffer
}

type change func(*proxy.Config)

func newStand(t *testing.T, server string, changes ...change) *stand {
	t.Helper()
	check := leaks(t)
	s := &stand{t: t, table: router.NewTable([]router.Deployment{shopDeployment()}), stats: armstats.NewSet([]string{shop}), logs: &logBuffer{}}
	cfg := proxy.Config{
		Table: s.table, Stats: s.stats, Kind: proxy.Postgres, Log: s.logs.logger(),
		Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", server)
		},
		Limits: proxy.Limits{Startup: 10 * time.Second}, Sweep: 50 * time.Millisecond,
	}
	for _, c := range changes {
		c(&cfg)
	}
	s.table = cfg.Table
	s.p = proxy.New(cfg)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.p.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
		defer done()
		if err := s.p.Shutdown(ctx); err != nil {
			t.Errorf("sessions were left at the end of the test: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		check()
		if t.Failed() {
			t.Logf("log of the proxy:\n%s", s.logs)
		}
	})
	return s
}

// onPostgres is a stand in front of the shared PostgreSQL.
func onPostgres(t *testing.T, changes ...change) *stand {
	t.Helper()
	return newStand(t, pgtest.Need(t, postgres).Addr(), changes...)
}

// weigh sets the weight in per cent.
func (s *stand) weigh(percent int) {
	s.route(func(d *router.Deployment) { d.Weight = router.Weight(percent * 100) })
}

func (s *stand) route(f func(*router.Deployment)) {
	if _, ok := s.table.Update(shop, f); !ok {
		s.t.Fatal("no such deployment")
	}
	s.p.Nudge()
}

func (s *stand) connect(options ...string) *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), pgtest.DSN(s.addr, "postgres", options...))
	if err != nil {
		s.t.Fatalf("connecting through the proxy: %v", err)
	}
	s.t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), 2*time.Second)
		defer done()
		conn.Close(ctx)
	})
	return conn
}

const onProd = "search_path=prod"

// version asks which version answers.
func version(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var v string
	if err := conn.QueryRow(t.Context(), "SELECT version FROM answer WHERE k = 1").Scan(&v); err != nil {
		t.Fatalf("asking for the version: %v", err)
	}
	return v
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// leaks remembers goroutines and descriptors; the returned check wants them back.
func leaks(t *testing.T) func() {
	goroutines, files := runtime.NumGoroutine(), descriptors()
	return func() {
		deadline := time.Now().Add(5 * time.Second)
		for runtime.NumGoroutine() > goroutines || descriptors() > files {
			if time.Now().After(deadline) {
				stack := make([]byte, 1<<20)
				t.Errorf("goroutines %d, were %d; descriptors %d, were %d\n%s", runtime.NumGoroutine(), goroutines, descriptors(), files, stack[:runtime.Stack(stack, true)])
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
}

func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// logBuffer keeps the proxy's log for failed tests.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/app"
	"mzcanary/internal/sim"
)

// patience is how long a test waits for what must come: a guard against hanging,
// never a pace.
const patience = 20 * time.Second

// settings is a configuration in a hurry, on free ports, for the server at %s.
const settings = `
listen:   {address: "127.0.0.1:0"}
upstream: {address: "%s", tls: {mode: disable}, dial_timeout: 2s}
control:  {user: materialize, database: materialize}
deployments:
  - name: shop
    database: materialize
    schemas:  [{live: prod, deploy: prod_deploy}]
    clusters: [{live: prod, deploy: prod_deploy}]
    rollout:
      plan:
        steps:
          - {weight: 50%%, bake: 300ms}
          - {promote: {}}
      minimum: {units: 1, exchanges: 5}
      ready: {max_lag: 5s, within: 1m, poll: 50ms, consecutive: 2, probe: 2s}
    promote: {gather: 1s, max_stall: 5s, patience: 20s}
    window:  {for: 200ms}
    drain:   {for: 5s, then: terminate}
admin:    {address: "127.0.0.1:0"}
observe:  {address: "127.0.0.1:0"}
state:    {dir: "%s"}
shutdown: {drain: 100ms}
`

// configure is settings for a server, with changes as --set takes them.
func configure(t *testing.T, server string, set ...string) *config.Config {
	t.Helper()
	return configureText(t, settingsFor(t, server), set...)
}

func settingsFor(t *testing.T, server string) string {
	t.Helper()
	return fmt.Sprintf(settings, server, filepath.Join(t.TempDir(), "state"))
}

func configureText(t *testing.T, text string, set ...string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "deploy.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(config.LoadOptions{File: file, FileRequired: true, Environ: []string{}, Set: set})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// program is the whole of mzcanary, running.
type program struct {
	t *testing.T
	app.Addresses
	client *admin.Client
	logs   *logBuffer
	stop   func() error // ends it as SIGTERM does, and returns what Run did; once
}

// hurry is the pace of a controller under test.
func hurry(logs *logBuffer) app.Options {
	return app.Options{Log: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Tick: 10 * time.Millisecond, Watch: 50 * time.Millisecond, Settle: 100 * time.Millisecond}
}

// start runs the program until the test ends.
func start(t *testing.T, cfg *config.Config) *program {
	t.Helper()
	logs := &logBuffer{}
	a, err := app.New(cfg, hurry(logs))
	if err != nil {
		t.Fatal(err)
	}
	run, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(run) }()
	p := &program{t: t, logs: logs, stop: sync.OnceValue(func() error {
		end()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return errors.New("Run did not return")
		}
	})}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("the program ended badly: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the program:\n%s", logs)
		}
	})
	if p.Addresses, err = a.Bound(within(t)); err != nil {
		t.Fatal(err)
	}
	p.client = admin.NewClient(p.Admin)
	return p
}

// within is a context that ends with the test's patience.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// await looks at the status until it is as wanted. It does not follow revisions:
// what only counters show moves them once a second.
func (p *program) await(what string, ok func(admin.Status) bool) admin.Status {
	p.t.Helper()
	var s admin.Status
	eventually(p.t, what, func() bool {
		var err error
		if s, err = p.client.Status(within(p.t), "shop"); err != nil {
			p.t.Fatalf("not %s: %v", what, err)
		}
		return ok(s)
	})
	return s
}

// controlled waits until the controller has recovered.
func (p *program) controlled() {
	p.t.Helper()
	p.await("under control", func(s admin.Status) bool { return s.Recovering == "" })
}

// weigh sets the weight by hand.
func (p *program) weigh(percent int) admin.Status {
	p.t.Helper()
	s, err := p.client.SetWeight(within(p.t), "shop", admin.Weight(100*percent), admin.Request{Who: "test"})
	if err != nil {
		p.t.Fatalf("set the weight to %d%%: %v", percent, err)
	}
	return s
}

// get asks the observer's port.
func (p *program) get(path string) (code int, body string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(within(p.t), http.MethodGet, "http://"+p.Observe+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// onProd are the options of a managed session.
const onProd = "options='-c search_path=prod -c cluster=prod'"

// dsn is how an application connects to an address.
func dsn(addr string, more ...string) string {
	host, port, _ := net.SplitHostPort(addr)
	text := fmt.Sprintf("host=%s port=%s user=app dbname=materialize", host, port)
	if all := strings.Join(more, " "); !strings.Contains(all, "sslmode=") {
		text += " sslmode=disable"
	}
	return strings.Join(append([]string{text}, more...), " ")
}

// connect opens a session and closes it when the test ends.
func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(within(t), dsn)
	if err != nil {
		t.Fatalf("connect with %q: %v", dsn, err)
	}
	t.Cleanup(func() { hangUp(conn) })
	return conn
}

func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the program may have ended it before
}

// refused connects and wants to be told why not.
func refused(t *testing.T, dsn string) *pgconn.PgError {
	t.Helper()
	conn, err := pgx.Connect(within(t), dsn)
	if err == nil {
		hangUp(conn)
		t.Fatalf("connected with %q", dsn)
	}
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		t.Fatalf("not told why: %v", err)
	}
	return told
}

// version asks which version answers.
func version(ctx context.Context, conn *pgx.Conn) (string, error) {
	var v string
	err := conn.QueryRow(ctx, "SELECT version FROM answer WHERE k = 1").Scan(&v)
	return v, err
}

func mustVersion(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	v, err := version(within(t), conn)
	if err != nil {
		t.Fatalf("ask for the version: %v", err)
	}
	return v
}

// versionSQL builds one version of the example.
func versionSQL(name, version string) string {
	return fmt.Sprintf(`
CREATE CLUSTER %[1]s (SIZE = 'bootstrap');
CREATE SCHEMA %[1]s;
CREATE VIEW %[1]s.answer AS SELECT '%[2]s'::text AS version, k, v FROM public.base;
CREATE INDEX answer_idx IN CLUSTER %[1]s ON %[1]s.answer (k);
GRANT USAGE ON SCHEMA %[1]s TO PUBLIC;
GRANT USAGE ON CLUSTER %[1]s TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA %[1]s TO PUBLIC;
ALTER SCHEMA %[1]s OWNER TO materialize;
ALTER CLUSTER %[1]s OWNER TO materialize;
`, name, version)
}

const baseSQL = `
CREATE TABLE public.base (k int, v text);
INSERT INTO public.base VALUES (1,'a'),(2,'b'),(3,'c');
GRANT SELECT ON public.base TO PUBLIC;
GRANT CREATE ON DATABASE materialize TO materialize;
`

// simulated is a Materialize with both versions, not yet serving.
func simulated(t *testing.T, o sim.Options) *sim.Server {
	t.Helper()
	s := sim.New(o)
	if err := s.Exec(within(t), baseSQL+versionSQL("prod", "old")+versionSQL("prod_deploy", "new")); err != nil {
		t.Fatal(err)
	}
	return s
}

// serveSim serves it until the test ends, on addr or on a free port.
func serveSim(t *testing.T, s *sim.Server, addr string) string {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Errorf("the simulated server: %v", err)
		}
	})
	return ln.Addr().String()
}

// onSim is a running simulated server with both versions.
func onSim(t *testing.T) (*sim.Server, string) {
	t.Helper()
	s := simulated(t, sim.Options{})
	return s, serveSim(t, s, "127.0.0.1:0")
}

// freeAddress is where nobody listens, for now.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String()
}

// eventually looks until a condition holds that nobody announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	guard := time.After(patience)
	for !ok() {
		select {
		case <-look.C:
		case <-guard:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// leaks remembers the goroutines there are; the check wants no more of them.
func leaks(t *testing.T) (check func()) {
	before := runtime.NumGoroutine()
	return func() {
		t.Helper()
		http.DefaultClient.CloseIdleConnections()
		eventually(t, "all goroutines ended", func() bool { return runtime.NumGoroutine() <= before })
	}
}

// refusal is the controller's no, as a command gets it.
func refusal(t *testing.T, err error) *deploy.Refusal {
	t.Helper()
	var r *deploy.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("not refused with a sentence: %v", err)
	}
	return r
}

// says checks that a text has all parts.
func says(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s does not say %q: %s", what, part, text)
		}
	}
}

// logBuffer keeps the program's log for failed tests.
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

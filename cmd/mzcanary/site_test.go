package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/internal/admin"
	"mzcanary/internal/sim"
)

// patience is how long a test waits for what must come: a guard, never a pace.
const patience = 20 * time.Second

// site is `serve` running in front of a simulated server, and the commands that
// speak to it.
type site struct {
	t      *testing.T
	sim    *sim.Server
	server string // its address
	config string
	proxy  string
	admin  string
	errOut *lockedBuffer
}

const siteConfig = `
listen:   {address: "%s"}
upstream: {address: "%s", tls: {mode: disable}, dial_timeout: 2s}
control:  {user: materialize, database: materialize}
deployments:
  - name: shop
    database: materialize
    schemas:  [{live: prod, deploy: prod_deploy}]
    clusters: [{live: prod, deploy: prod_deploy}]
    rollout:
      plan: {steps: [{weight: 0, approve: {within: 1h}}, {weight: 50%%, bake: 1h}, {promote: {}}]}
      minimum: {units: 1, exchanges: 1}
      ready: {within: 1m, poll: 50ms, consecutive: 2, probe: 2s}
    window:  {for: 100ms}
    drain:   {for: 1s}
admin:    {address: "%s"}
observe:  {address: "%s"}
state:    {dir: "%s"}
shutdown: {drain: 50ms}
`

// writeConfig writes a configuration for a server.
func writeConfig(t *testing.T, upstream string) (file, proxy, adminAddr string) {
	t.Helper()
	free := make([]string, 3)
	for i := range free {
		var err error
		if free[i], err = freeAddress(); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	file = filepath.Join(dir, "deploy.yaml")
	text := fmt.Sprintf(siteConfig, free[0], upstream, free[1], free[2], filepath.Join(dir, "state"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, free[0], free[1]
}

// background runs a command until the test ends, which must then be its end.
func background(t *testing.T, errOut *lockedBuffer, args ...string) (ended <-chan int) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	code := make(chan int, 1)
	var wg sync.WaitGroup
	wg.Go(func() { code <- run(ctx, args, strings.NewReader(""), errOut, errOut) })
	t.Cleanup(func() {
		end()
		wg.Wait()
		if t.Failed() {
			t.Logf("%v said:\n%s", args, errOut)
		}
	})
	return code
}

// serveSimulated serves a simulated server until the test ends.
func serveSimulated(t *testing.T, o sim.Options, build func(context.Context, *sim.Server) error) (*sim.Server, string) {
	t.Helper()
	s := sim.New(o)
	if err := build(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
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
	return s, ln.Addr().String()
}

// newSite starts serve, with flags, on a simulated server with both versions.
func newSite(t *testing.T, o sim.Options, build func(context.Context, *sim.Server) error, flags ...string) *site {
	t.Helper()
	s := &site{t: t, errOut: &lockedBuffer{}}
	var addr string
	s.sim, addr = serveSimulated(t, o, build)
	s.server = addr
	s.config, s.proxy, s.admin = writeConfig(t, addr)
	ended := background(t, s.errOut, append([]string{"serve", "-c", s.config, "--tick", "10ms", "--watch", "50ms", "--settle", "100ms"}, flags...)...)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	c := admin.NewClient(s.admin)
	s.await("under control", func() bool {
		select {
		case code := <-ended:
			t.Fatalf("serve ended with %d: %s", code, s.errOut)
		default:
		}
		status, err := c.Status(ctx, "shop")
		return err == nil && status.Recovering == "" && status.Phase == "idle"
	})
	return s
}

// await looks until something holds.
func (s *site) await(what string, ok func() bool) {
	s.t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	guard := time.After(patience)
	for !ok() {
		select {
		case <-look.C:
		case <-guard:
			s.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// run runs a command against the site.
func (s *site) run(args ...string) (code int, out, errOut string) {
	s.t.Helper()
	return runProgram(s.t, patience, append(args, "-c", s.config)...)
}

// want runs a command that must end with a code and say some things, on either
// stream; it returns what stood on the output.
func (s *site) want(code int, says []string, args ...string) string {
	s.t.Helper()
	got, out, errOut := s.run(args...)
	if got != code {
		s.t.Errorf("%v: exit %d, want %d: %s%s", args, got, code, out, errOut)
	}
	for _, part := range says {
		if !strings.Contains(out+errOut, part) {
			s.t.Errorf("%v does not say %q: %s%s", args, part, out, errOut)
		}
	}
	return out
}

// status asks for the status as JSON.
func (s *site) status() admin.Status {
	s.t.Helper()
	return decode[admin.Status](s.t, s.want(exitDone, nil, "rollout", "status", "--output", "json"))
}

// asking waits until the rollout asks for a person's approval.
func (s *site) asking() {
	s.t.Helper()
	s.await("asking for an approval", func() bool { return s.status().Asked != nil })
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("not the JSON of a %T: %v: %s", v, err, text)
	}
	return v
}

// dsn is how an application connects to the site.
func (s *site) dsn(options string) string {
	host, port, _ := net.SplitHostPort(s.proxy)
	return fmt.Sprintf("host=%s port=%s user=app dbname=materialize sslmode=disable application_name=checkout options='%s'", host, port, options)
}

// connect opens a session until the test ends.
func (s *site) connect(options string) *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.dsn(options))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), 2*time.Second)
		defer done()
		_ = conn.Close(ctx) // the program may have ended it before
	})
	return conn
}

// refused connects and wants a FATAL.
func (s *site) refused(options string) *pgconn.PgError {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.dsn(options))
	if err == nil {
		conn.Close(s.t.Context())
		s.t.Fatalf("connected with %q", options)
	}
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		s.t.Fatalf("not told why: %v", err)
	}
	return told
}

// lockedBuffer may be written while it is read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

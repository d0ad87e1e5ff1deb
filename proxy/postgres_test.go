package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/internal/pgtest"
)

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestS12AuthenticationIsRelayed(t *testing.T) {
	s := onPostgres(t)
	for _, role := range []string{"postgres", pgtest.RoleCleartext, pgtest.RoleMD5, pgtest.RoleSCRAM} {
		t.Run(role, func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), pgtest.DSN(s.addr, role, onProd))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			if v := version(t, conn); v != "old" {
				t.Errorf("version %q", v)
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		_, err := pgx.Connect(t.Context(), pgtest.DSN(s.addr, pgtest.RoleSCRAM, "password=wrong"))
		var pgErr *pgconn.PgError
		if !asPgError(err, &pgErr) || pgErr.Code != "28P01" {
			t.Errorf("got %v, want the server's own 28P01", err)
		}
	})
}

func asPgError(err error, to **pgconn.PgError) bool {
	for ; err != nil; err = unwrap(err) {
		if e, ok := err.(*pgconn.PgError); ok {
			*to = e
			return true
		}
	}
	return false
}

func unwrap(err error) error {
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return e.Unwrap()
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			var pg *pgconn.PgError
			if asPgError(inner, &pg) {
				return pg
			}
		}
	}
	return nil
}

func TestWeightMovesLiveSessions(t *testing.T) {
	s := onPostgres(t)
	conn := s.connect(onProd)
	for i := range 20 {
		s.weigh(100 * (i % 2))
		want := []string{"old", "new"}[i%2]
		if v := version(t, conn); v != want {
			t.Fatalf("round %d: version %q, want %q", i, v, want)
		}
	}
}

func TestEveryQueryMode(t *testing.T) {
	s := onPostgres(t)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			conn := s.connect(onProd)
			for i := range 30 {
				s.weigh(100 * (i % 2))
				var v string
				var k int
				err := conn.QueryRow(t.Context(), "SELECT version, k FROM answer WHERE k = $1", mode, i+1).Scan(&v, &k)
				if err != nil || k != i+1 {
					t.Fatalf("round %d: k %d, %v", i, k, err)
				}
				if want := []string{"old", "new"}[i%2]; v != want {
					t.Fatalf("round %d: version %q, want %q", i, v, want)
				}
			}
		})
	}
}

// cancelsRunning cancels a statement that would run for a minute.
func cancelsRunning(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	started := time.Now()
	go func() {
		time.Sleep(50 * time.Millisecond) // let it begin; too early is tried again
		for time.Since(started) < 10*time.Second {
			ctx, done := context.WithTimeout(context.Background(), time.Second)
			err := conn.PgConn().CancelRequest(ctx)
			done()
			if err == nil {
				return
			}
		}
	}()
	_, err := conn.Exec(t.Context(), "SELECT pg_sleep(60)")
	var pgErr *pgconn.PgError
	if !asPgError(err, &pgErr) || pgErr.Code != "57014" {
		t.Fatalf("a cancelled statement ended in %v", err)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the statement after a cancelled one: %v", err)
	}
}

func TestCancelOnPostgres(t *testing.T) {
	s := onPostgres(t)
	cancelsRunning(t, s.connect(onProd))
}

// TestManySmallPipelinedQueries: thousands of batches in flight, moved on the way.
func TestManySmallPipelinedQueries(t *testing.T) {
	s := onPostgres(t)
	conn := s.connect(onProd).PgConn()
	p := conn.StartPipeline(t.Context())
	const depth, chunk, behind = 3_000, 300, 150
	seen := map[string]int{}
	answered := 0
	// read takes answers until so many batches are still in flight.
	read := func(sent, inFlight int) {
		for sent-answered > inFlight {
			res, err := p.GetResults()
			if err != nil {
				t.Fatal(err)
			}
			switch res := res.(type) {
			case *pgconn.ResultReader:
				r := res.Read()
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				seen[string(r.Rows[0][0])]++
			case *pgconn.PipelineSync:
				answered++
			}
		}
	}
	for i := range depth {
		if i%chunk == 0 {
			// What is sent from here on is not on its way yet, so it must move; what
			// was sent before still is.
			read(i, min(i, behind))
			s.weigh(100 * (i / chunk % 2))
		}
		p.SendQueryParams("SELECT version FROM answer WHERE k = 1", nil, nil, nil, nil)
		if err := p.Sync(); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	read(depth, 0)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if seen["old"] == 0 || seen["new"] == 0 || seen["old"]+seen["new"] != depth {
		t.Errorf("versions seen: %v", seen)
	}
}

// TestLargeRowsBothWays: a message far larger than any buffer.
func TestLargeRowsBothWays(t *testing.T) {
	s := onPostgres(t)
	conn := s.connect(onProd)
	text := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	var back string
	if err := conn.QueryRow(t.Context(), "SELECT $1::text", text).Scan(&back); err != nil || back != text {
		t.Fatalf("got %d bytes back of %d: %v", len(back), len(text), err)
	}
	var out bytes.Buffer
	if _, err := conn.PgConn().CopyTo(t.Context(), &out, "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO STDOUT"); err != nil || out.Len() != 20000*1001 {
		t.Fatalf("COPY out gave %d bytes, %v", out.Len(), err)
	}
	tag, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(strings.Repeat("7	"+strings.Repeat("y", 1000)+"\n", 5000)), "COPY notes FROM STDIN")
	if err != nil || tag.RowsAffected() != 5000 {
		t.Fatalf("COPY in: %v, %v", tag, err)
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM notes WHERE id = 7"); err != nil {
		t.Fatal(err)
	}
}

// TestClientsOwnSearchPath: on PostgreSQL 15, which does not report it, a SET is
// noticed by its tag and asked after.
func TestClientsOwnSearchPath(t *testing.T) {
	s := onPostgres(t)
	conn := s.connect(onProd)
	show := func() string {
		t.Helper()
		var path string
		if err := conn.QueryRow(t.Context(), "SHOW search_path", pgx.QueryExecModeSimpleProtocol).Scan(&path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	exec := func(text string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), text, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	s.weigh(100)
	for _, step := range []struct{ do, want string }{
		{"SELECT 1", "prod_deploy"},
		{"SET search_path = prod, public", "prod_deploy, public"},
		{"SET timezone = 'UTC'", "prod_deploy, public"},
		{"DISCARD ALL", "prod_deploy"},
		{"BEGIN; SET LOCAL search_path = public; COMMIT", "prod_deploy"},
		{"SET search_path = public", "public"},    // foreign: released
		{"SET search_path = prod", "prod_deploy"}, // and back
	} {
		exec(step.do)
		if got := strings.ReplaceAll(show(), `"`, ""); got != step.want {
			t.Errorf("after %s the search_path is %s, want %s", step.do, got, step.want)
		}
	}
	if i := s.p.Sessions("")[0]; i.Deployment != shop || i.ClientSet != "returned" {
		t.Errorf("session %+v", i)
	}
}

func TestHoldAndRelease(t *testing.T) {
	s := onPostgres(t)
	conn := s.connect(onProd)
	version(t, conn)
	hold, err := s.p.Hold(shop, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	ctx, done := context.WithTimeout(t.Context(), time.Second)
	defer done()
	report := hold.Gather(ctx)
	if !report.Complete() || report.Held != 1 {
		t.Fatalf("report %+v", report)
	}
	answered := make(chan string, 1)
	go func() {
		var v string
		err := conn.QueryRow(context.Background(), "SELECT version FROM answer WHERE k = 1").Scan(&v)
		answered <- fmt.Sprint(v, err)
	}()
	eventually(t, "the message waits", func() bool { return s.p.Sessions(shop)[0].Why == "its message waits at the closed gate" })
	s.weigh(100)
	select {
	case got := <-answered:
		t.Fatalf("answered while held: %s", got)
	default:
	}
	stall := hold.Release()
	if got := <-answered; got != "new<nil>" {
		t.Errorf("after the release %q, want the new version", got)
	}
	if stall.Sessions != 1 || stall.Max <= 0 {
		t.Errorf("stall %+v", stall)
	}
}

package proxy_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/internal/pgtest"
)

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestAuthenticationIsRelayed(t *testing.T) {
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

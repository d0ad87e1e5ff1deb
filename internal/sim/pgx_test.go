package sim

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// connectPGX logs in by the driver; extra is "key=value" pairs of the connection string.
func connectPGX(t testing.TB, addr, extra string) *pgx.Conn {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%s user=app database=materialize sslmode=disable %s", host, port, extra))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the session ends either way
	return conn
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

// prepareVersions is a server with the two versions of the recordings.
func prepareVersions(t testing.TB, o Options) (s *Server, plain string) {
	t.Helper()
	s, plain, _ = startServer(t, o)
	if err := s.ExecAs(t.Context(), "app", "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	err := s.ExecAs(t.Context(), "materialize", `
		CREATE CLUSTER prod (SIZE = 'bootstrap'); CREATE CLUSTER prod_deploy (SIZE = 'bootstrap');
		CREATE SCHEMA prod; CREATE SCHEMA prod_deploy;
		CREATE TABLE public.base (k int, v text); INSERT INTO public.base VALUES (1,'a'),(2,'b'),(3,'c');
		CREATE VIEW prod.answer AS SELECT 'old'::text AS version, k, v FROM public.base;
		CREATE INDEX answer_idx IN CLUSTER prod ON prod.answer (k);
		CREATE MATERIALIZED VIEW prod.total IN CLUSTER prod AS SELECT 'old'::text AS version, count(*) AS n FROM public.base;
		CREATE VIEW prod_deploy.answer AS SELECT 'new'::text AS version, k, v FROM public.base;
		CREATE INDEX answer_idx IN CLUSTER prod_deploy ON prod_deploy.answer (k);
		CREATE MATERIALIZED VIEW prod_deploy.total IN CLUSTER prod_deploy AS SELECT 'new'::text AS version, count(*) AS n FROM public.base;
		GRANT USAGE ON SCHEMA prod, prod_deploy TO PUBLIC; GRANT USAGE ON CLUSTER prod, prod_deploy TO PUBLIC;
		GRANT SELECT ON ALL TABLES IN SCHEMA prod TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA prod_deploy TO PUBLIC;
		GRANT SELECT, INSERT, UPDATE, DELETE ON public.base TO PUBLIC;`)
	if err != nil {
		t.Fatal(err)
	}
	return s, plain
}

const swapBoth = "BEGIN; ALTER SCHEMA prod SWAP WITH prod_deploy; ALTER CLUSTER prod SWAP WITH prod_deploy; COMMIT"

// TestDriverModes asks the same in every mode the driver has, before and after a swap, with parameters.
func TestDriverModes(t *testing.T) {
	t.Parallel()
	s, addr := prepareVersions(t, Options{})
	modes := []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}
	conns := map[pgx.QueryExecMode]*pgx.Conn{}
	for _, want := range []string{"old", "new", "old"} {
		for _, mode := range modes {
			c := conns[mode]
			if c == nil {
				c = connectPGX(t, addr, "options='-c cluster=prod -c search_path=prod'")
				conns[mode] = c
			}
			var version, v string
			var k int32
			err := c.QueryRow(t.Context(), "SELECT version, k, v FROM answer WHERE k = $1 AND v = $2", mode, 2, "b").Scan(&version, &k, &v)
			if err != nil || version != want || k != 2 || v != "b" {
				t.Errorf("%v: got %q %d %q, %v; want %q 2 b", mode, version, k, v, err, want)
			}
		}
		if err := s.ExecAs(t.Context(), "materialize", swapBoth); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWritesAndCopy writes by parameters, by COPY, and reads back by COPY and by a transaction at one time.
func TestWritesAndCopy(t *testing.T) {
	t.Parallel()
	_, addr := prepareVersions(t, Options{})
	ctx := t.Context()
	c := connectPGX(t, addr, "")
	if tag, err := c.Exec(ctx, "INSERT INTO base VALUES ($1, $2), ($3, $4)", 10, "x", 11, nil); err != nil || tag.RowsAffected() != 2 {
		t.Fatalf("insert: %v %v", tag, err)
	}
	if tag, err := c.PgConn().CopyFrom(ctx, strings.NewReader("12\ttwelve\n13\t\\N\n"), "COPY base FROM STDIN"); err != nil || tag.RowsAffected() != 2 {
		t.Fatalf("copy in: %v %v", tag, err)
	}
	if tag, err := c.Exec(ctx, "UPDATE base SET v = 'z' WHERE k = $1", 11); err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("update: %v %v", tag, err)
	}
	if tag, err := c.Exec(ctx, "DELETE FROM base WHERE k = 12"); err != nil || tag.RowsAffected() != 1 {
		t.Fatalf("delete: %v %v", tag, err)
	}
	var out strings.Builder
	if _, err := c.PgConn().CopyTo(ctx, &out, "COPY (SELECT k, v FROM base WHERE k >= 10 ORDER BY k) TO STDOUT"); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "10\tx\n11\tz\n13\t\\N\n"; got != want {
		t.Errorf("copy out: %q, want %q", got, want)
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	count := func(q interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	}) (n int64) {
		if err := q.QueryRow(ctx, "SELECT count(*) FROM base").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count(tx)
	other := connectPGX(t, addr, "")
	if _, err := other.Exec(ctx, "INSERT INTO base VALUES (99, 'late')"); err != nil {
		t.Fatal(err)
	}
	if after := count(tx); after != before {
		t.Errorf("a read transaction saw %d rows and then %d", before, after)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO base VALUES (1, 'no')"); codeOf(err) != "25006" {
		t.Errorf("a write after a read: %v", err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if after := count(c); after != before+1 {
		t.Errorf("outside the transaction %d rows, want %d", after, before+1)
	}
}

// TestPipeline sends a batch in which one statement fails: what is before it is answered, what is after is not.
func TestPipeline(t *testing.T) {
	t.Parallel()
	_, addr := prepareVersions(t, Options{})
	ctx := t.Context()
	c := connectPGX(t, addr, "options='-c search_path=prod -c cluster=prod'")
	p := c.PgConn().StartPipeline(ctx)
	for _, q := range []string{"SELECT version FROM answer WHERE k = 1", "SELECT * FROM missing", "SELECT 3"} {
		p.SendQueryParams(q, nil, nil, nil, nil)
		if strings.Contains(q, "missing") {
			p.SendQueryParams("SELECT 'never'", nil, nil, nil, nil)
		}
		if err := p.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for {
		r, err := p.GetResults()
		if err != nil {
			got = append(got, codeOf(err))
			continue
		}
		if r == nil {
			break
		}
		if rr, ok := r.(*pgconn.ResultReader); ok {
			res := rr.Read()
			if res.Err != nil {
				got = append(got, codeOf(res.Err))
				continue
			}
			got = append(got, string(res.Rows[0][0]))
		}
	}
	if err := p.Close(); err != nil && codeOf(err) != "XX000" {
		t.Error(err)
	}
	if want := []string{"old", "XX000", "3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAuthentication logs in by every kind, with right and wrong passwords.
func TestAuthentication(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]AuthKind{"cleartext": AuthCleartext, "md5": AuthMD5, "scram": AuthSCRAM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, addr, _ := startServer(t, Options{Auth: Auth{Kind: kind, Passwords: map[string]string{"app": "s3cret"}}})
			c := connectPGX(t, addr, "password=s3cret")
			if _, err := c.Exec(t.Context(), "SELECT 1"); err != nil {
				t.Error(err)
			}
			host, port, _ := strings.Cut(addr, ":")
			for _, wrong := range []string{"user=app password=no", "user=stranger password=s3cret"} {
				_, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%s database=materialize sslmode=disable %s", host, port, wrong))
				if codeOf(err) != "28P01" {
					t.Errorf("%s: %v", wrong, err)
				}
			}
		})
	}
}

// TestDescribeOfADeclaredCursor: a cursor is a portal by its name, which psycopg's server-side cursors rely on.
func TestDescribeOfADeclaredCursor(t *testing.T) {
	t.Parallel()
	_, addr := prepareVersions(t, Options{})
	c := connectPGX(t, addr, "options='-c cluster=prod -c search_path=prod'").PgConn()
	if _, err := c.Exec(t.Context(), "BEGIN; DECLARE c CURSOR FOR SELECT version, k FROM answer").ReadAll(); err != nil {
		t.Fatal(err)
	}
	f := c.Frontend()
	f.SendDescribe(&pgproto3.Describe{ObjectType: 'P', Name: "c"})
	f.SendSync(&pgproto3.Sync{})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	m, err := f.Receive()
	if err != nil {
		t.Fatal(err)
	}
	row, ok := m.(*pgproto3.RowDescription)
	if !ok || len(row.Fields) != 2 || string(row.Fields[1].Name) != "k" {
		t.Errorf("described as %T %+v", m, m)
	}
}

// TestCopyOfABadValue: it is the format of the data that is wrong, on every version.
func TestCopyOfABadValue(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v26.4.0", "v26.39.0"} {
		_, addr := prepareVersions(t, Options{Version: version})
		_, err := connectPGX(t, addr, "").PgConn().CopyFrom(t.Context(), strings.NewReader("number\tx\n"), "COPY base FROM STDIN")
		if codeOf(err) != "22P04" || !strings.Contains(err.Error(), "unable to decode column: invalid input syntax for type integer") {
			t.Errorf("%s: %v", version, err)
		}
	}
}

// TestFirstLoginConflicts: a role that comes into being is a catalog change, and makes an open DDL transaction fail;
// a second login of the same user is none.
func TestFirstLoginConflicts(t *testing.T) {
	t.Parallel()
	_, addr := prepareVersions(t, Options{})
	ctx := t.Context()
	op := connectPGX(t, addr, "user=materialize")
	for i, want := range []string{"40001", "<nil>"} {
		if _, err := op.Exec(ctx, "BEGIN; ALTER SCHEMA prod SWAP WITH prod_deploy"); err != nil {
			t.Fatal(err)
		}
		connectPGX(t, addr, "user=newcomer")
		if _, err := op.Exec(ctx, "COMMIT"); codeOf(err) != want {
			t.Errorf("login %d: COMMIT gave %v, want %s", i+1, err, want)
		}
	}
}

// TestCancel ends a waiting SELECT by the driver's cancel request.
func TestCancel(t *testing.T) {
	t.Parallel()
	s, addr := prepareVersions(t, Options{})
	if err := s.Faults().HangReplica("prod", "r1"); err != nil {
		t.Fatal(err)
	}
	c := connectPGX(t, addr, "options='-c search_path=prod -c cluster=prod'")
	var waiting sync.WaitGroup
	waiting.Go(func() {
		awaitLive(t, s, 1)
		if err := c.PgConn().CancelRequest(t.Context()); err != nil {
			t.Error(err)
		}
	})
	_, err := c.Exec(t.Context(), "SELECT * FROM answer")
	waiting.Wait()
	if codeOf(err) != "57014" {
		t.Errorf("got %v", err)
	}
	if _, err := c.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("the session after the cancel: %v", err)
	}
}

// awaitLive waits until so many reads wait or stream.
func awaitLive(t testing.TB, s *Server, n int) {
	end := deadline()
	for {
		s.mu.Lock()
		have := len(s.live)
		s.mu.Unlock()
		if have >= n {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%d live reads, want %d", have, n)
			return
		}
		runtime.Gosched()
	}
}

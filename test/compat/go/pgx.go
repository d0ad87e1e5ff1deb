package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// px is a long-lived session of pgx in one query mode.
type px struct {
	*pgx.Conn
	env     env
	mode    pgx.QueryExecMode
	mu      sync.Mutex
	notices []string
}

var pgxModes = map[string]pgx.QueryExecMode{
	"simple_protocol": pgx.QueryExecModeSimpleProtocol,
	"exec":            pgx.QueryExecModeExec,
	"describe_exec":   pgx.QueryExecModeDescribeExec,
	"cache_describe":  pgx.QueryExecModeCacheDescribe,
	"cache_statement": pgx.QueryExecModeCacheStatement,
}

func runPgx(modeName string) {
	mode, ok := pgxModes[modeName]
	if !ok {
		fmt.Fprintln(os.Stderr, "no such mode:", modeName)
		os.Exit(2)
	}
	e := environment()
	open := func(ctx context.Context) (*px, error) { return openPgx(ctx, e, mode) }
	work("pgx "+modeName, moduleVersion("github.com/jackc/pgx/v5"), slices.Concat(pgxChecks(e), pgxFlowChecks(e)), open,
		func(s *px) { _ = s.Close(context.Background()) })
}

func (e env) pgxConfig(user, more string, mode pgx.QueryExecMode) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(e.dsn(user, e.live+" sslmode=disable "+more))
	if err != nil {
		return nil, err
	}
	c.DefaultQueryExecMode = mode
	return c, nil
}

func openPgx(ctx context.Context, e env, mode pgx.QueryExecMode) (*px, error) {
	c, err := e.pgxConfig(e.user, "", mode)
	if err != nil {
		return nil, err
	}
	s := &px{env: e, mode: mode}
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		s.mu.Lock()
		s.notices = append(s.notices, n.Message)
		s.mu.Unlock()
	}
	if s.Conn, err = pgx.ConnectConfig(ctx, c); err != nil {
		return nil, err
	}
	_, err = s.Prepare(ctx, "kept", "SELECT version FROM items WHERE id = $1")
	return s, err
}

const oneVersion = "SELECT version FROM items WHERE id = $1"

// version asks for one row's version; the caller counts it.
func version(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, id int) (v string, err error) {
	err = q.QueryRow(ctx, oneVersion, id).Scan(&v)
	return v, err
}

func pgxChecks(e env) []check[*px] {
	all := []check[*px]{
		{e.signIn(), (*px).signIn},
		{"wrong password", (*px).wrongPassword},
		{"TLS, reads and 1 MB rows", (*px).tls},
		{"read", (*px).read},
		{"read after idling", (*px).readAfterIdling},
		{"200 rows", (*px).rows},
		{"types and NULLs", (*px).types},
		{"prepared statement kept for life", (*px).kept},
		{"prepare, use, deallocate", (*px).prepare},
		{"rolled back transaction", (*px).rolledBack},
		{"error and recovery", (*px).recovery},
		{"failed transaction", (*px).failedTransaction},
		{"several statements in one query", (*px).several},
		{"empty query", (*px).empty},
		{"1 MB rows", (*px).large},
		{"cursor", (*px).cursor},
	}
	if e.materialize {
		return append(all, pgxMaterializeChecks()...)
	}
	return append(all, []check[*px]{
		{"transaction", (*px).transaction},
		{"savepoint after an error", (*px).savepoint},
		{"notices", (*px).noticed},
		{"temporary table and settings kept", (*px).state},
		{"own SET search_path, SET LOCAL, RESET", (*px).ownSet},
		{"DISCARD ALL", (*px).discard},
	}...)
}

func (s *px) signIn(ctx context.Context, t *tally) error {
	for _, user := range s.env.roles {
		c, err := s.env.pgxConfig(user, "", s.mode)
		if err != nil {
			return err
		}
		conn, err := pgx.ConnectConfig(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", user, err)
		}
		v, err := version(ctx, conn, 1)
		if err == nil {
			t.exchange(v)
		}
		if err := errors.Join(err, conn.Close(ctx)); err != nil {
			return fmt.Errorf("%s: %w", user, err)
		}
	}
	return nil
}

func (s *px) wrongPassword(ctx context.Context, _ *tally) error {
	for _, user := range s.env.roles {
		if user == "compat_trust" {
			continue
		}
		c, err := s.env.pgxConfig(user, "", s.mode)
		if err != nil {
			return err
		}
		c.Password = "wrong"
		conn, err := pgx.ConnectConfig(ctx, c)
		if err == nil {
			return errors.Join(fmt.Errorf("%s came in with a wrong password", user), conn.Close(ctx))
		}
		if err := wants(err, "28P01"); err != nil {
			return err
		}
	}
	return nil
}

func (s *px) tls(ctx context.Context, t *tally) error {
	c, err := pgx.ParseConfig(s.env.dsn(s.env.user, s.env.live+" sslmode=require"))
	if err != nil {
		return err
	}
	c.DefaultQueryExecMode = s.mode
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for id := range 6 {
		v, err := version(ctx, conn, id+1)
		if err != nil {
			return err
		}
		t.exchange(v)
		nap()
	}
	return bigRows(ctx, conn, t)
}

func (s *px) read(ctx context.Context, t *tally) error {
	for id := 1; id <= 10; id++ {
		v, err := version(ctx, s.Conn, id)
		if err != nil {
			return err
		}
		t.exchange(v)
	}
	return nil
}

func (s *px) rows(ctx context.Context, t *tally) error {
	rows, err := s.Query(ctx, "SELECT version FROM items WHERE id > $1 ORDER BY id", 0)
	if err != nil {
		return err
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	return same(t, got, 200)
}

func (s *px) types(ctx context.Context, t *tally) error {
	var (
		name, v string
		price   float64
		note    *string
		tags    []string
		doc     map[string]any
		raw     []byte
		made    time.Time
		flag    *bool
		ratio   float64
	)
	const id = 6
	err := s.QueryRow(ctx, "SELECT name, price::float8, note, tags, doc, raw, made, flag, ratio, version FROM items WHERE id = $1 AND coalesce($2::text, name) = name AND $3::timestamptz < made",
		id, (*string)(nil), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)).Scan(&name, &price, &note, &tags, &doc, &raw, &made, &flag, &ratio, &v)
	if err != nil {
		return err
	}
	t.exchange(v)
	if name != "item 6" || price != 7.5 || note != nil || strings.Join(tags, "|") != `a6|b,"6` || doc["id"] != 6.0 || doc["n"] != nil ||
		!bytes.Equal(raw, []byte{0, 0, 0, 6}) || !made.Equal(time.Date(2024, 2, 29, 12, 6, 0, 0, time.UTC)) || flag != nil || ratio != 6/7.0 {
		return fmt.Errorf("row 6 came back as %v %v %v %v %v %v %v %v %v", name, price, note, tags, doc, raw, made, flag, ratio)
	}
	return nil
}

func (s *px) kept(ctx context.Context, t *tally) error {
	for id := 1; id <= 5; id++ {
		var v string
		if err := s.QueryRow(ctx, "kept", id).Scan(&v); err != nil {
			return err
		}
		t.exchange(v)
		nap()
	}
	return nil
}

func (s *px) prepare(ctx context.Context, t *tally) error {
	if _, err := s.Prepare(ctx, "once", "SELECT version, note FROM items WHERE id = $1"); err != nil {
		return err
	}
	nap()
	var v string
	var note *string
	if err := s.QueryRow(ctx, "once", 2).Scan(&v, &note); err != nil {
		return err
	}
	t.exchange(v)
	return s.Deallocate(ctx, "once")
}

func (s *px) transaction(ctx context.Context, t *tally) error {
	return pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		a, err := version(ctx, tx, 1)
		if err != nil {
			return err
		}
		nap()
		var b string
		if err := tx.QueryRow(ctx, "INSERT INTO sink (run, n, body) VALUES ($1, 1, $2) RETURNING version", s.env.run, "hello").Scan(&b); err != nil {
			return err
		}
		nap()
		c, err := version(ctx, tx, 2)
		if err != nil {
			return err
		}
		t.transaction(a, b, c)
		return nil
	})
}

func (s *px) rolledBack(ctx context.Context, t *tally) error {
	tx, err := s.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return err
	}
	a, err := version(ctx, tx, 1)
	if err != nil {
		return err
	}
	nap()
	b, err := version(ctx, tx, 3)
	if err != nil {
		return err
	}
	t.transaction(a, b)
	return tx.Rollback(ctx)
}

func (s *px) savepoint(ctx context.Context, t *tally) error {
	return pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		a, err := version(ctx, tx, 1)
		if err != nil {
			return err
		}
		inner := pgx.BeginFunc(ctx, tx, func(in pgx.Tx) error {
			nap()
			_, err := in.Exec(ctx, "SELECT 1/0")
			return err
		})
		if err := wants(inner, "22012"); err != nil {
			return err
		}
		nap()
		b, err := version(ctx, tx, 2)
		if err != nil {
			return err
		}
		t.transaction(a, b)
		return nil
	})
}

func (s *px) recovery(ctx context.Context, t *tally) error {
	for sql, code := range map[string]string{"SELECT 1/0": s.env.division, "SELECT * FROM no_such_table": s.env.missing, "SELEC": "42601", "SELECT 'x'::int": s.env.badValue} {
		_, err := s.Exec(ctx, sql)
		if err := wants(err, code); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		v, err := version(ctx, s.Conn, 1)
		if err != nil {
			return fmt.Errorf("after %s: %w", sql, err)
		}
		t.exchange(v)
	}
	return nil
}

func (s *px) failedTransaction(ctx context.Context, t *tally) error {
	tx, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "SELECT 1/0")
	if err := wants(err, s.env.division); err != nil {
		return err
	}
	nap()
	_, err = version(ctx, tx, 1)
	if err := wants(err, "25P02"); err != nil {
		return err
	}
	if err := tx.Rollback(ctx); err != nil {
		return err
	}
	return s.read(ctx, t)
}

func (s *px) several(ctx context.Context, t *tally) error {
	results, err := s.PgConn().Exec(ctx, "SELECT version FROM items WHERE id = 1; "+s.env.wait+"; SELECT version FROM items WHERE id = 2").ReadAll()
	if err != nil {
		return err
	}
	return same(t, []string{string(results[0].Rows[0][0]), string(results[2].Rows[0][0])}, 2)
}

func (s *px) empty(ctx context.Context, t *tally) error {
	if err := s.Ping(ctx); err != nil {
		return err
	}
	_, err := s.Exec(ctx, "")
	return err
}

func (s *px) large(ctx context.Context, t *tally) error { return bigRows(ctx, s.Conn, t) }

func bigRows(ctx context.Context, conn *pgx.Conn, t *tally) error {
	rows, err := conn.Query(ctx, "SELECT body, version FROM big ORDER BY id")
	if err != nil {
		return err
	}
	var versions []string
	var body, v string
	_, err = pgx.ForEachRow(rows, []any{&body, &v}, func() error {
		versions = append(versions, v)
		if len(body) != 1<<20 || strings.Trim(body, body[:1]) != "" {
			return fmt.Errorf("a row of %d bytes came back changed", len(body))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return same(t, versions, 3)
}

func (s *px) noticed(ctx context.Context, t *tally) error {
	s.mu.Lock()
	s.notices = nil
	s.mu.Unlock()
	var v string
	if err := s.QueryRow(ctx, "SELECT speak($1)", 3).Scan(&v); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := []string{v}
	for _, n := range s.notices {
		seen = append(seen, strings.TrimPrefix(n, "said by "))
	}
	return same(t, seen, 4)
}

func (s *px) cursor(ctx context.Context, t *tally) error {
	return pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DECLARE c CURSOR FOR SELECT version FROM items ORDER BY id"); err != nil {
			return err
		}
		var seen []string
		for range 4 {
			rows, err := tx.Query(ctx, "FETCH 50 FROM c")
			if err != nil {
				return err
			}
			got, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			if err := same(t, got, 50); err != nil {
				return err
			}
			seen = append(seen, got[0])
			nap()
		}
		t.transaction(seen...)
		return nil
	})
}

// state is what a session keeps for life: none of it may get lost in a move.
func (s *px) state(ctx context.Context, t *tally) error {
	if _, err := s.PgConn().Exec(ctx, "CREATE TEMP TABLE mine (v text); SET statement_timeout = '77s'; SELECT pg_advisory_lock(77, pg_backend_pid())").ReadAll(); err != nil {
		return err
	}
	if _, err := s.Exec(ctx, "INSERT INTO mine SELECT version FROM items WHERE id <= 20"); err != nil {
		return err
	}
	nap()
	nap()
	nap()
	rows, err := s.PgConn().Exec(ctx, "SELECT v FROM mine").ReadAll()
	if err != nil {
		return err
	}
	var seen []string
	for _, r := range rows[0].Rows {
		seen = append(seen, string(r[0]))
	}
	if err := same(t, seen, 20); err != nil {
		return err
	}
	kept, err := s.PgConn().Exec(ctx, "SHOW statement_timeout; SELECT pg_advisory_unlock(77, pg_backend_pid()); DROP TABLE mine; RESET statement_timeout").ReadAll()
	if err != nil {
		return err
	}
	if got := string(kept[0].Rows[0][0]) + " " + string(kept[1].Rows[0][0]); got != "77s t" {
		return fmt.Errorf("statement_timeout and lock came back as %q", got)
	}
	return nil
}

// ownSet is a client that names the live schema itself.
func (s *px) ownSet(ctx context.Context, t *tally) error {
	for _, sql := range []string{"SET search_path = prod, public", "SET search_path TO prod", "RESET search_path"} {
		if _, err := s.Exec(ctx, sql); err != nil {
			return err
		}
		if err := s.read(ctx, t); err != nil {
			return fmt.Errorf("after %s: %w", sql, err)
		}
	}
	var a, b string
	err := pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '9s'"); err != nil {
			return err
		}
		var err error
		if a, err = version(ctx, tx, 1); err != nil {
			return err
		}
		nap()
		b, err = version(ctx, tx, 2)
		return err
	})
	if err != nil {
		return err
	}
	t.transaction(a, b)
	return s.read(ctx, t)
}

func (s *px) discard(ctx context.Context, t *tally) error {
	if _, err := s.Exec(ctx, "DISCARD ALL", pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	if err := s.DeallocateAll(ctx); err != nil { // tells pgx that its statements are gone
		return err
	}
	if _, err := s.Prepare(ctx, "kept", oneVersion); err != nil {
		return err
	}
	return s.read(ctx, t)
}

// wants turns an expected error into none.
func wants(err error, code string) error {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return fmt.Errorf("no error instead of %s", code)
	case !errors.As(err, &pg):
		return fmt.Errorf("instead of %s: %w", code, err)
	case pg.Code != code:
		return fmt.Errorf("%s (%s) instead of %s", pg.Code, pg.Message, code)
	}
	return nil
}

package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
)

// pqSession is one long-lived connection of lib/pq out of a pool of its own.
type pqSession struct {
	env  env
	db   *sql.DB
	conn *sql.Conn
	kept *sql.Stmt

	mu      sync.Mutex
	notices []string
}

func runPq() {
	e := environment()
	work("lib/pq", moduleVersion("github.com/lib/pq"), pqChecks(e), func(ctx context.Context) (*pqSession, error) { return openPq(ctx, e) },
		func(s *pqSession) { _ = s.db.Close() })
}

func openPq(ctx context.Context, e env) (*pqSession, error) {
	s := &pqSession{env: e}
	base, err := pq.NewConnector(e.dsn(e.user, e.live+" sslmode=disable"))
	if err != nil {
		return nil, err
	}
	s.db = sql.OpenDB(pq.ConnectorWithNoticeHandler(base, func(n *pq.Error) {
		s.mu.Lock()
		s.notices = append(s.notices, n.Message)
		s.mu.Unlock()
	}))
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	if s.kept, err = s.conn.PrepareContext(ctx, oneVersion); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

func pqChecks(e env) []check[*pqSession] {
	all := []check[*pqSession]{
		{e.signIn(), (*pqSession).signIn},
		{"wrong password", (*pqSession).wrongPassword},
		{"TLS, reads and 1 MB rows", (*pqSession).tls},
		{"unprepared read", (*pqSession).unprepared},
		{"read with parameters", (*pqSession).read},
		{"200 rows", (*pqSession).rows},
		{"binary parameters", (*pqSession).binary},
		{"NULLs and arrays", (*pqSession).nulls},
		{"prepared statement kept for life", (*pqSession).keptRead},
		{"error and recovery", (*pqSession).recovery},
		{"several statements in one query", (*pqSession).several},
		{"COPY in refused by the server", (*pqSession).copyInBad},
		{"cancel by context", (*pqSession).cancel},
		{"1 MB rows", (*pqSession).large},
		{"pool", (*pqSession).pool},
	}
	if e.materialize {
		return append(all, pqMaterializeChecks()...)
	}
	return append(all, []check[*pqSession]{
		{"transaction", (*pqSession).transaction},
		{"failed transaction and savepoint", (*pqSession).failed},
		{"COPY in", (*pqSession).copyIn},
		{"notices", (*pqSession).noticed},
		{"LISTEN and NOTIFY", (*pqSession).listen},
		{"DISCARD ALL", (*pqSession).discard},
	}...)
}

type pqQuerier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func pqVersion(ctx context.Context, q pqQuerier, id int) (v string, err error) {
	err = q.QueryRowContext(ctx, oneVersion, id).Scan(&v)
	return v, err
}

func pqStrings(ctx context.Context, q pqQuerier, query string, args ...any) (all []string, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// wantsPq turns an expected error of lib/pq into none.
func wantsPq(err error, code string) error {
	var e *pq.Error
	switch {
	case err == nil:
		return fmt.Errorf("no error instead of %s", code)
	case !errors.As(err, &e):
		return fmt.Errorf("instead of %s: %w", code, err)
	case string(e.Code) != code:
		return fmt.Errorf("%s (%s) instead of %s", e.Code, e.Message, code)
	}
	return nil
}

func (s *pqSession) opened(ctx context.Context, user, more string, use func(*sql.DB) error) error {
	db, err := sql.Open("postgres", s.env.dsn(user, s.env.live+" "+more))
	if err != nil {
		return err
	}
	return errors.Join(use(db), db.Close())
}

func (s *pqSession) signIn(ctx context.Context, t *tally) error {
	for _, user := range s.env.roles {
		err := s.opened(ctx, user, "sslmode=disable", func(db *sql.DB) error {
			v, err := pqVersion(ctx, db, 1)
			if err == nil {
				t.exchange(v)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", user, err)
		}
	}
	return nil
}

func (s *pqSession) wrongPassword(ctx context.Context, _ *tally) error {
	return s.opened(ctx, s.env.user, "sslmode=disable password=wrong", func(db *sql.DB) error { return wantsPq(db.PingContext(ctx), "28P01") })
}

func (s *pqSession) tls(ctx context.Context, t *tally) error {
	return s.opened(ctx, s.env.user, "sslmode=require", func(db *sql.DB) error {
		for id := range 6 {
			v, err := pqVersion(ctx, db, id+1)
			if err != nil {
				return err
			}
			t.exchange(v)
			nap()
		}
		return pqBig(ctx, db, t)
	})
}

func (s *pqSession) unprepared(ctx context.Context, t *tally) error {
	for range 5 {
		got, err := pqStrings(ctx, s.conn, "SELECT version FROM items WHERE id < 4")
		if err != nil {
			return err
		}
		if err := same(t, got, 3); err != nil {
			return err
		}
	}
	return nil
}

// read sends Parse and Describe in one exchange and the execution in the next:
// the version is that of the second.
func (s *pqSession) read(ctx context.Context, t *tally) error {
	for id := 1; id <= 10; id++ {
		v, err := pqVersion(ctx, s.conn, id)
		if err != nil {
			return err
		}
		t.exchange(v)
	}
	return nil
}

func (s *pqSession) rows(ctx context.Context, t *tally) error {
	got, err := pqStrings(ctx, s.conn, "SELECT version FROM items WHERE id > $1", 0)
	if err != nil {
		return err
	}
	return same(t, got, 200)
}

func (s *pqSession) binary(ctx context.Context, t *tally) error {
	return s.opened(ctx, s.env.user, "sslmode=disable binary_parameters=yes", func(db *sql.DB) error {
		for id := range 5 {
			got, err := pqStrings(ctx, db, "SELECT version FROM items WHERE id = $1 AND raw = $2", id+1, []byte{0, 0, 0, byte(id + 1)})
			if err != nil {
				return err
			}
			if err := same(t, got, 1); err != nil {
				return err
			}
			nap()
		}
		return nil
	})
}

func (s *pqSession) nulls(ctx context.Context, t *tally) error {
	var note sql.NullString
	var flag sql.NullBool
	var tags []string
	var made time.Time
	var v string
	err := s.conn.QueryRowContext(ctx, "SELECT note, flag, tags, made, version FROM items WHERE id = $1 AND $2::text IS NULL", 6, nil).
		Scan(&note, &flag, pq.Array(&tags), &made, &v)
	if err != nil {
		return err
	}
	t.exchange(v)
	if note.Valid || flag.Valid || len(tags) != 2 || tags[1] != `b,"6` || made.Unix() != 1709208360 {
		return fmt.Errorf("row 6 came back as %v %v %q %v", note, flag, tags, made)
	}
	return nil
}

func (s *pqSession) keptRead(ctx context.Context, t *tally) error {
	for id := range 5 {
		var v string
		if err := s.kept.QueryRowContext(ctx, id+1).Scan(&v); err != nil {
			return err
		}
		t.exchange(v)
		nap()
	}
	return nil
}

func (s *pqSession) transaction(ctx context.Context, t *tally) error {
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it says so, and that is meant
	a, err := pqVersion(ctx, tx, 1)
	if err != nil {
		return err
	}
	nap()
	var b string
	if err := tx.QueryRowContext(ctx, "INSERT INTO sink (run, n) VALUES ($1, 1) RETURNING version", s.env.run).Scan(&b); err != nil {
		return err
	}
	nap()
	var c string
	if err := tx.StmtContext(ctx, s.kept).QueryRowContext(ctx, 2).Scan(&c); err != nil {
		return err
	}
	t.transaction(a, b, c)
	return tx.Commit()
}

func (s *pqSession) recovery(ctx context.Context, t *tally) error {
	for query, code := range map[string]string{"SELECT 1/0": s.env.division, "SELECT 1/$1::int": s.env.division, "SELECT * FROM no_such_table": s.env.missing} {
		var args []any
		if strings.Contains(query, "$1") {
			args = append(args, 0)
		}
		_, err := pqStrings(ctx, s.conn, query, args...)
		if err := wantsPq(err, code); err != nil {
			return err
		}
		if err := s.read(ctx, t); err != nil {
			return fmt.Errorf("after %s: %w", query, err)
		}
	}
	return nil
}

func (s *pqSession) failed(ctx context.Context, t *tally) error {
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it says so, and that is meant
	a, err := pqVersion(ctx, tx, 1)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "SAVEPOINT s"); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "SELECT 1/0")
	if err := wantsPq(err, "22012"); err != nil {
		return err
	}
	nap()
	_, err = pqVersion(ctx, tx, 1)
	if err := wantsPq(err, "25P02"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "ROLLBACK TO s"); err != nil {
		return err
	}
	nap()
	b, err := pqVersion(ctx, tx, 2)
	if err != nil {
		return err
	}
	t.transaction(a, b)
	return tx.Commit()
}

func (s *pqSession) several(ctx context.Context, t *tally) error {
	rows, err := s.conn.QueryContext(ctx, "SELECT version FROM items WHERE id = 1; SELECT version FROM items WHERE id = 2")
	if err != nil {
		return err
	}
	defer rows.Close()
	var seen []string
	for more := true; more; more = rows.NextResultSet() {
		for rows.Next() {
			var v string
			if err := rows.Scan(&v); err != nil {
				return err
			}
			seen = append(seen, v)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return same(t, seen, 2)
}

func (s *pqSession) copyIn(ctx context.Context, t *tally) error {
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it says so, and that is meant
	in, err := tx.PrepareContext(ctx, pq.CopyIn("sink", "run", "n", "body"))
	if err != nil {
		return err
	}
	for i := range 400 {
		if _, err := in.ExecContext(ctx, s.env.run, 3, nil); err != nil {
			return err
		}
		if i%200 == 0 {
			nap()
		}
	}
	if _, err := in.ExecContext(ctx); err != nil {
		return err
	}
	if err := in.Close(); err != nil {
		return err
	}
	got, err := pqStrings(ctx, tx, "SELECT version FROM sink WHERE run = $1 AND n = 3 AND xmin = pg_current_xact_id()::xid", s.env.run)
	if err != nil {
		return err
	}
	if err := same(t, got, 400); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *pqSession) copyInBad(ctx context.Context, t *tally) error {
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	in, err := tx.PrepareContext(ctx, pq.CopyIn("sink", "run", "n"))
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	_, err = in.ExecContext(ctx, s.env.run, "number")
	if err == nil {
		_, err = in.ExecContext(ctx)
	}
	if err := wantsPq(err, s.env.badCopy); err != nil {
		return err
	}
	_ = in.Close() // tells the same error again
	if err := tx.Rollback(); err != nil {
		return err
	}
	return s.read(ctx, t)
}

func (s *pqSession) cancel(ctx context.Context, t *tally) error {
	short, stop := context.WithTimeout(ctx, s.env.soon)
	defer stop()
	began := time.Now()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err = conn.ExecContext(short, s.env.sleep); err == nil {
		return errors.New("a cancelled statement ended well")
	}
	if took := time.Since(began); took > 5*time.Second {
		return fmt.Errorf("the cancel took %s", took)
	}
	return s.read(ctx, t)
}

func (s *pqSession) large(ctx context.Context, t *tally) error { return pqBig(ctx, s.conn, t) }

func pqBig(ctx context.Context, q pqQuerier, t *tally) error {
	rows, err := q.QueryContext(ctx, "SELECT body, version FROM big ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	var seen []string
	for rows.Next() {
		var body, v string
		if err := rows.Scan(&body, &v); err != nil {
			return err
		}
		if len(body) != 1<<20 || strings.Trim(body, body[:1]) != "" {
			return fmt.Errorf("a row of %d bytes came back changed", len(body))
		}
		seen = append(seen, v)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return same(t, seen, 3)
}

func (s *pqSession) noticed(ctx context.Context, t *tally) error {
	s.mu.Lock()
	s.notices = nil
	s.mu.Unlock()
	var v string
	if err := s.conn.QueryRowContext(ctx, "SELECT speak($1)", 3).Scan(&v); err != nil {
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

func (s *pqSession) listen(ctx context.Context, _ *tally) error {
	var pid int
	if err := s.conn.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return err
	}
	channel := fmt.Sprintf("news_%d", pid)
	l := pq.NewListener(s.env.dsn(s.env.user, "search_path=prod sslmode=disable"), time.Second, time.Second, nil)
	defer l.Close()
	if err := l.Listen(channel); err != nil {
		return err
	}
	for i := range 3 {
		nap()
		if _, err := s.conn.ExecContext(ctx, "SELECT pg_notify($1, $2)", channel, fmt.Sprint(i)); err != nil {
			return err
		}
		select {
		case n := <-l.Notify:
			if n == nil {
				return errors.New("the listener lost its connection")
			}
			if n.Extra != fmt.Sprint(i) {
				return fmt.Errorf("notification %q instead of %d", n.Extra, i)
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for a notification: %w", ctx.Err())
		}
	}
	return nil
}

func (s *pqSession) pool(ctx context.Context, t *tally) error {
	return s.opened(ctx, s.env.user, "sslmode=disable", func(db *sql.DB) error {
		db.SetMaxOpenConns(3)
		db.SetMaxIdleConns(3)
		done := make(chan error, 5)
		for range cap(done) {
			go func() {
				for id := range 4 {
					v, err := pqVersion(ctx, db, id+1)
					if err != nil {
						done <- err
						return
					}
					t.exchange(v)
					nap()
				}
				done <- nil
			}()
		}
		var err error
		for range cap(done) {
			err = errors.Join(err, <-done)
		}
		return err
	})
}

// discard loses the kept statement on purpose and makes it again.
func (s *pqSession) discard(ctx context.Context, t *tally) error {
	if _, err := s.conn.ExecContext(ctx, "DISCARD ALL"); err != nil {
		return err
	}
	if err := s.kept.Close(); err != nil && !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	var err error
	if s.kept, err = s.conn.PrepareContext(ctx, oneVersion); err != nil {
		return err
	}
	return s.keptRead(ctx, t)
}

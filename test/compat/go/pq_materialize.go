package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/lib/pq"
)

func pqMaterializeChecks() []check[*pqSession] {
	return []check[*pqSession]{
		{"settings as the server sees them", (*pqSession).settings},
		{"transaction", (*pqSession).readTransaction},
		{"failed transaction", (*pqSession).failedTransaction},
		{"write transaction", (*pqSession).writeTransaction},
		{"COPY in", (*pqSession).copyRows},
		{"notices", (*pqSession).warned},
		{"own SET of cluster and search_path", (*pqSession).ownNames},
		{"DISCARD ALL", (*pqSession).discardAll},
		{"SUBSCRIBE by a cursor", (*pqSession).subscribeCursor},
	}
}

// shown asks for both settings in one statement, prepared as lib/pq does.
func (s *pqSession) shown(ctx context.Context, q pqQuerier) (string, error) {
	var cluster, path string
	err := q.QueryRowContext(ctx, "SELECT current_setting('cluster'), current_setting('search_path') WHERE 1 = $1", 1).Scan(&cluster, &path)
	return armOf(cluster, path), err
}

func (s *pqSession) settings(ctx context.Context, t *tally) error {
	for range 5 {
		arm, err := s.shown(ctx, s.conn)
		if err != nil {
			return err
		}
		t.exchange(arm)
		nap()
	}
	return nil
}

func (s *pqSession) readTransaction(ctx context.Context, t *tally) error {
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
	b, err := s.shown(ctx, tx)
	if err != nil {
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

func (s *pqSession) failedTransaction(ctx context.Context, t *tally) error {
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "SELECT 1/0")
	if err := wantsPq(err, s.env.division); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	nap()
	_, err = pqVersion(ctx, tx, 1)
	if err := wantsPq(err, "25P02"); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Rollback(); err != nil {
		return err
	}
	return s.read(ctx, t)
}

func (s *pqSession) writeTransaction(ctx context.Context, t *tally) error {
	run := s.env.nextRun()
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for n := range 3 {
		if _, err := tx.ExecContext(ctx, "INSERT INTO sink (run, n) VALUES ($1, $2)", run, n); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		nap()
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return s.env.landed(ctx, t, run, 3)
}

func (s *pqSession) copyRows(ctx context.Context, t *tally) error {
	run := s.env.nextRun()
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it says so, and that is meant
	in, err := tx.PrepareContext(ctx, pq.CopyIn("sink", "run", "n", "body"))
	if err != nil {
		return err
	}
	for i := range 200 {
		if _, err := in.ExecContext(ctx, run, 3, nil); err != nil {
			return err
		}
		if i%100 == 0 {
			nap()
		}
	}
	if _, err := in.ExecContext(ctx); err != nil {
		return err
	}
	if err := errors.Join(in.Close(), tx.Commit()); err != nil {
		return err
	}
	return s.env.landed(ctx, t, run, 200)
}

func (s *pqSession) warned(ctx context.Context, t *tally) error {
	s.mu.Lock()
	s.notices = nil
	s.mu.Unlock()
	for range 3 {
		if _, err := s.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
			return err
		}
		if err := s.read(ctx, t); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notices {
		if n != "there is no transaction in progress" {
			return fmt.Errorf("a notice out of nowhere: %s", n)
		}
	}
	if len(s.notices) != 3 {
		return fmt.Errorf("%d notices instead of 3", len(s.notices))
	}
	return nil
}

func (s *pqSession) ownNames(ctx context.Context, t *tally) error {
	for _, sql := range []string{"SET search_path = prod, public", "SET cluster = prod", "SET SCHEMA prod"} {
		if _, err := s.conn.ExecContext(ctx, sql); err != nil {
			return err
		}
		for range 2 {
			if err := s.read(ctx, t); err != nil {
				return fmt.Errorf("after %s: %w", sql, err)
			}
			nap()
		}
	}
	return nil
}

// discardAll loses the kept statement on purpose and makes it again.
func (s *pqSession) discardAll(ctx context.Context, t *tally) error {
	if _, err := s.conn.ExecContext(ctx, "DISCARD ALL"); err != nil {
		return err
	}
	if err := s.kept.Close(); err != nil && !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	if s.env.restores {
		if err := s.unprepared(ctx, t); err != nil {
			return err
		}
	}
	if _, err := s.conn.ExecContext(ctx, "SET cluster = prod; SET search_path = prod"); err != nil {
		return err
	}
	var err error
	if s.kept, err = s.conn.PrepareContext(ctx, oneVersion); err != nil {
		return err
	}
	return s.keptRead(ctx, t)
}

func (s *pqSession) subscribeCursor(ctx context.Context, t *tally) error {
	tx, err := s.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it says so, and that is meant
	if _, err := tx.ExecContext(ctx, "DECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news)"); err != nil {
		return err
	}
	var seen []string
	for range 3 {
		rows, err := tx.QueryContext(ctx, "FETCH ALL c WITH (timeout = '120ms')")
		if err != nil {
			return err
		}
		for rows.Next() {
			var at, diff, n any
			var v string
			if err := rows.Scan(&at, &diff, &n, &v); err != nil {
				return errors.Join(err, rows.Close())
			}
			seen = append(seen, v)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
	}
	if len(seen) == 0 {
		return errors.New("no changes")
	}
	t.transaction(seen...)
	return tx.Commit()
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pgxFlowChecks are those in which more than one answer is under way, or data
// flows the other way.
func pgxFlowChecks(e env) []check[*px] {
	all := []check[*px]{
		{"batch with an error", (*px).batchError},
		{"pipeline with several Syncs and Flushes", (*px).pipeline},
		{"pipeline with an error", (*px).pipelineError},
		{"COPY out", (*px).copyOut},
		{"COPY in refused by the server", (*px).copyInBad},
		{"COPY in given up by the client", (*px).copyInGivenUp},
		{"cancel", (*px).cancel},
		{"cancel by context", (*px).cancelByContext},
		{"pool", (*px).pool},
	}
	if e.materialize {
		return all
	}
	return append(all, []check[*px]{
		{"batch", (*px).batch},
		{"COPY in", (*px).copyIn},
		{"COPY in, binary", (*px).copyInBinary},
		{"LISTEN and NOTIFY", (*px).listen},
	}...)
}

func (s *px) readAfterIdling(ctx context.Context, t *tally) error {
	time.Sleep(120 * time.Millisecond)
	return s.read(ctx, t)
}

func (s *px) batch(ctx context.Context, t *tally) error {
	var b pgx.Batch
	var seen []string
	for id := range 8 {
		b.Queue(oneVersion, id+1).QueryRow(func(row pgx.Row) error {
			var v string
			err := row.Scan(&v)
			seen = append(seen, v)
			return err
		})
	}
	b.Queue("SELECT pg_sleep(0.02)")
	b.Queue("INSERT INTO sink (run, n) VALUES ($1, 2) RETURNING version", s.env.run).QueryRow(func(row pgx.Row) error {
		var v string
		err := row.Scan(&v)
		seen = append(seen, v)
		return err
	})
	if err := s.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	return same(t, seen, 9)
}

func (s *px) batchError(ctx context.Context, t *tally) error {
	var b pgx.Batch
	b.Queue(oneVersion, 1)
	b.Queue("SELECT 1/$1::int", 0)
	b.Queue(oneVersion, 2)
	if err := wants(s.SendBatch(ctx, &b).Close(), s.env.division); err != nil {
		return err
	}
	return s.read(ctx, t)
}

// pipeline keeps several exchanges under way; each Sync ends one.
func (s *px) pipeline(ctx context.Context, t *tally) error {
	p := s.PgConn().StartPipeline(ctx)
	const exchanges, each = 6, 3
	for range exchanges {
		for range each {
			p.SendQueryParams(oneVersion, [][]byte{[]byte("7")}, nil, nil, nil)
		}
		p.SendFlushRequest()
		if err := p.Flush(); err != nil {
			return errors.Join(err, p.Close())
		}
		time.Sleep(10 * time.Millisecond)
		if err := p.Sync(); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	var seen []string
	for done := 0; done < exchanges; {
		got, err := p.GetResults()
		if err != nil {
			return errors.Join(err, p.Close())
		}
		switch r := got.(type) {
		case *pgconn.ResultReader:
			read := r.Read()
			if read.Err != nil {
				return errors.Join(read.Err, p.Close())
			}
			seen = append(seen, string(read.Rows[0][0]))
		case *pgconn.PipelineSync:
			if err := same(t, seen, each); err != nil {
				return errors.Join(err, p.Close())
			}
			seen = nil
			done++
		default:
			return errors.Join(fmt.Errorf("unexpected %T in a pipeline", got), p.Close())
		}
	}
	return p.Close()
}

func (s *px) pipelineError(ctx context.Context, t *tally) error {
	p := s.PgConn().StartPipeline(ctx)
	p.SendQueryParams(oneVersion, [][]byte{[]byte("7")}, nil, nil, nil)
	p.SendQueryParams("SELECT 1/0", nil, nil, nil, nil)
	p.SendQueryParams(oneVersion, [][]byte{[]byte("8")}, nil, nil, nil) // skipped by the server
	if err := p.Sync(); err != nil {
		return errors.Join(err, p.Close())
	}
	p.SendQueryParams(oneVersion, [][]byte{[]byte("9")}, nil, nil, nil)
	if err := p.Sync(); err != nil {
		return errors.Join(err, p.Close())
	}
	failed, syncs := false, 0
	for syncs < 2 {
		got, err := p.GetResults()
		if err != nil {
			if err := wants(err, s.env.division); err != nil {
				return errors.Join(err, p.Close())
			}
			failed = true
			continue
		}
		switch r := got.(type) {
		case *pgconn.ResultReader:
			read := r.Read()
			if read.Err != nil {
				if err := wants(read.Err, s.env.division); err != nil {
					return errors.Join(err, p.Close())
				}
				failed = true
				continue
			}
			t.exchange(string(read.Rows[0][0]))
		case *pgconn.PipelineSync:
			syncs++
		case nil:
			return errors.Join(errors.New("the pipeline ended early"), p.Close())
		}
	}
	if !failed {
		return errors.Join(errors.New("the error in the pipeline got lost"), p.Close())
	}
	return p.Close()
}

func (s *px) copyOut(ctx context.Context, t *tally) error {
	var out bytes.Buffer
	sql := "COPY (SELECT version, pg_sleep(CASE WHEN id % 50 = 0 THEN 0.01 ELSE 0 END) IS NULL FROM items) TO STDOUT"
	if s.env.materialize {
		sql = "COPY (SELECT version, id FROM pause) TO STDOUT"
	}
	if _, err := s.PgConn().CopyTo(ctx, &out, sql); err != nil {
		return err
	}
	var seen []string
	for line := range strings.Lines(out.String()) {
		v, _, _ := strings.Cut(line, "\t")
		seen = append(seen, v)
	}
	return same(t, seen, 200)
}

// copied counts what a COPY left, by version, inside its transaction.
func (s *px) copied(ctx context.Context, tx pgx.Tx, t *tally, n, want int) error {
	rows, err := tx.Query(ctx, "SELECT version FROM sink WHERE run = $1 AND n = $2 AND xmin = pg_current_xact_id()::xid", s.env.run, n)
	if err != nil {
		return err
	}
	seen, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	return same(t, seen, want)
}

func (s *px) copyIn(ctx context.Context, t *tally) error {
	tx, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	lines := strings.Repeat(s.env.run+"\t3\thello\n", 500)
	tag, err := s.PgConn().CopyFrom(ctx, strings.NewReader(lines), "COPY sink (run, n, body) FROM STDIN")
	if err != nil {
		return err
	}
	if tag.RowsAffected() != 500 {
		return fmt.Errorf("copied %d rows of 500", tag.RowsAffected())
	}
	nap()
	if err := s.copied(ctx, tx, t, 3, 500); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	_, err = s.PgConn().CopyFrom(ctx, strings.NewReader(lines[:len(lines)/10]), "COPY sink (run, n, body) FROM STDIN") // outside a transaction
	t.exchange()
	return err
}

func (s *px) copyInBinary(ctx context.Context, t *tally) error {
	source := pgx.CopyFromSlice(300, func(i int) ([]any, error) {
		if i%100 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		return []any{s.env.run, int32(4), nil}, nil
	})
	return pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"sink"}, []string{"run", "n", "body"}, source); err != nil {
			return err
		}
		return s.copied(ctx, tx, t, 4, 300)
	})
}

func (s *px) copyInBad(ctx context.Context, t *tally) error {
	lines := strings.Repeat(s.env.run+"\t5\thello\n", 200) + s.env.run + "\tnumber\tx\n" + strings.Repeat(s.env.run+"\t5\thello\n", 20000)
	_, err := s.PgConn().CopyFrom(ctx, strings.NewReader(lines), "COPY sink (run, n, body) FROM STDIN")
	if err := wants(err, s.env.badCopy); err != nil {
		return err
	}
	if s.env.drains {
		return s.read(ctx, t)
	}
	_, err = s.PgConn().CopyFrom(ctx, strings.NewReader(lines), "COPY no_such_table FROM STDIN")
	if err := wants(err, s.env.missing); err != nil {
		return err
	}
	return s.read(ctx, t)
}

type broken struct{ sent bool }

func (b *broken) Read(p []byte) (int, error) {
	if b.sent {
		return 0, errors.New("the client changed its mind")
	}
	b.sent = true
	return copy(p, "x\t6\ty\n"), nil
}

func (s *px) copyInGivenUp(ctx context.Context, t *tally) error {
	_, err := s.PgConn().CopyFrom(ctx, &broken{}, "COPY sink (run, n, body) FROM STDIN")
	if err := wants(err, "57014"); err != nil {
		return err
	}
	return s.read(ctx, t)
}

func (s *px) cancel(ctx context.Context, t *tally) error {
	asked := make(chan error, 1)
	timer := time.AfterFunc(s.env.soon, func() { asked <- s.PgConn().CancelRequest(ctx) })
	defer timer.Stop()
	began := time.Now()
	_, err := s.PgConn().Exec(ctx, s.env.sleep).ReadAll()
	if err := wants(err, "57014"); err != nil {
		return err
	}
	if err := <-asked; err != nil {
		return fmt.Errorf("ask for the cancel: %w", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		return fmt.Errorf("the cancel took %s", took)
	}
	return s.read(ctx, t)
}

// cancelByContext ends statements by deadline; the connection must live on.
func (s *px) cancelByContext(ctx context.Context, t *tally) error {
	c, err := s.env.pgxConfig(s.env.user, "", s.mode)
	if err != nil {
		return err
	}
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 5 * time.Second}
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for range 2 {
		short, cancel := context.WithTimeout(ctx, s.env.soon)
		_, err := conn.Exec(short, s.env.sleep)
		cancel()
		if err == nil || conn.IsClosed() {
			return fmt.Errorf("a deadline ended with %v, connection closed: %v", err, conn.IsClosed())
		}
		v, err := version(ctx, conn, 1)
		if err != nil {
			return fmt.Errorf("after a deadline: %w", err)
		}
		t.exchange(v)
	}
	return nil
}

func (s *px) listen(ctx context.Context, t *tally) error {
	channel := fmt.Sprintf("news_%d", s.PgConn().PID())
	if _, err := s.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	other, err := openPgx(ctx, s.env, s.mode)
	if err != nil {
		return err
	}
	defer other.Close(context.WithoutCancel(ctx))
	for i := range 3 {
		nap()
		if _, err := other.Exec(ctx, fmt.Sprintf("NOTIFY %s, 'n%d'", channel, i)); err != nil {
			return err
		}
		n, err := s.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("wait for a notification: %w", err)
		}
		if n.Payload != fmt.Sprintf("n%d", i) {
			return fmt.Errorf("notification %q instead of n%d", n.Payload, i)
		}
	}
	_, err = s.Exec(ctx, "UNLISTEN "+channel)
	return err
}

// pool works on a pool that resets its connections, as some applications do.
func (s *px) pool(ctx context.Context, t *tally) error {
	c, err := pgxpool.ParseConfig(s.env.dsn(s.env.user, s.env.live+" sslmode=disable pool_max_conns=3"))
	if err != nil {
		return err
	}
	c.ConnConfig.DefaultQueryExecMode = s.mode
	c.AfterRelease = func(conn *pgx.Conn) bool {
		reset := "RESET ALL; UNLISTEN *; CLOSE ALL"
		if s.env.materialize {
			reset = "SET search_path = prod; SET cluster = prod"
		}
		_, err := conn.Exec(ctx, reset, pgx.QueryExecModeSimpleProtocol)
		return err == nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return err
	}
	defer pool.Close()
	done := make(chan error, 4)
	for range cap(done) {
		go func() {
			for range 4 {
				v, err := version(ctx, pool, 5)
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
	for range cap(done) {
		err = errors.Join(err, <-done)
	}
	return err
}

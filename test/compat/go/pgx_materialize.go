package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// pgxMaterializeChecks are those of what only Materialize has, and of what it does
// differently.
func pgxMaterializeChecks() []check[*px] {
	return []check[*px]{
		{"settings as the server and the client see them", (*px).settings},
		{"transaction", (*px).readTransaction},
		{"batch", (*px).readBatch},
		{"write transaction", (*px).writeTransaction},
		{"COPY in", (*px).copyRows},
		{"notices", (*px).warned},
		{"protocol 3.2 asked for", (*px).newerProtocol},
		{"temporary table and settings kept", (*px).keptState},
		{"own SET of cluster and search_path", (*px).ownNames},
		{"own SET inside transactions", (*px).ownLocal},
		{"own SET of other names and back", (*px).otherNames},
		{"RESET", (*px).reset},
		{"DISCARD ALL", (*px).discardAll},
		{"SUBSCRIBE, cancelled", (*px).subscribe},
		{"SUBSCRIBE by a cursor", (*px).subscribeCursor},
		{"COPY of a SUBSCRIBE, cancelled", (*px).copySubscribe},
	}
}

// runs numbers what is written, so that it can be counted.
var runs atomic.Int64

func (e env) nextRun() string { return fmt.Sprintf("%s-%d", e.run, runs.Add(1)) }

// shown asks the server for both settings in one exchange.
func (s *px) shown(ctx context.Context) (cluster, path string, err error) {
	got, err := s.PgConn().Exec(ctx, "SHOW cluster; SHOW search_path").ReadAll()
	if err != nil {
		return "", "", err
	}
	return string(got[0].Rows[0][0]), string(got[1].Rows[0][0]), nil
}

// told are the settings by ParameterStatus.
func (s *px) told(cluster, path string) error {
	if c, p := s.PgConn().ParameterStatus("cluster"), s.PgConn().ParameterStatus("search_path"); c != cluster || p != path {
		return fmt.Errorf("the client was told of cluster %s and search_path %s instead of %s and %s", c, p, cluster, path)
	}
	return nil
}

// settings: what SHOW says is one arm's, and what the client was told is what it
// asked for, wherever it is.
func (s *px) settings(ctx context.Context, t *tally) error {
	fresh, err := openPgx(ctx, s.env, s.mode)
	if err != nil {
		return err
	}
	defer fresh.Close(context.WithoutCancel(ctx))
	for range 4 {
		cluster, path, err := fresh.shown(ctx)
		if err != nil {
			return err
		}
		t.exchange(armOf(cluster, path))
		if err := fresh.told("prod", "prod"); err != nil {
			return err
		}
		nap()
	}
	var current string
	if err := fresh.QueryRow(ctx, "SELECT current_setting('cluster') || ' ' || current_setting('search_path')").Scan(&current); err != nil {
		return err
	}
	cluster, path, _ := strings.Cut(current, " ")
	t.exchange(armOf(cluster, path))
	return nil
}

// readTransaction reads and asks what it runs on: one version all through.
func (s *px) readTransaction(ctx context.Context, t *tally) error {
	return pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		a, err := version(ctx, tx, 1)
		if err != nil {
			return err
		}
		nap()
		cluster, path, err := s.shown(ctx)
		if err != nil {
			return err
		}
		nap()
		c, err := version(ctx, tx, 2)
		if err != nil {
			return err
		}
		t.transaction(a, armOf(cluster, path), c)
		return nil
	})
}

func (s *px) readBatch(ctx context.Context, t *tally) error {
	var b pgx.Batch
	var seen []string
	for id := range 8 {
		b.Queue(oneVersion, id+1).QueryRow(func(row pgx.Row) error {
			var v string
			err := row.Scan(&v)
			seen = append(seen, v)
			return err
		})
		if id == 4 {
			b.Queue(s.env.wait)
		}
	}
	if err := s.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	return same(t, seen, 8)
}

// writeTransaction only writes: Materialize does not mix.
func (s *px) writeTransaction(ctx context.Context, t *tally) error {
	run := s.env.nextRun()
	err := pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		for n := range 3 {
			if _, err := tx.Exec(ctx, "INSERT INTO sink (run, n) VALUES ($1, $2)", run, n); err != nil {
				return err
			}
			nap()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.env.landed(ctx, t, run, 3)
}

// copyRows copies inside a transaction and outside one.
func (s *px) copyRows(ctx context.Context, t *tally) error {
	run := s.env.nextRun()
	lines := func(n int) *strings.Reader { return strings.NewReader(strings.Repeat(run+"\t3\thello\n", n)) }
	err := pgx.BeginFunc(ctx, s.Conn, func(pgx.Tx) error {
		for range 2 {
			if _, err := s.PgConn().CopyFrom(ctx, lines(100), "COPY sink (run, n, body) FROM STDIN"); err != nil {
				return err
			}
			nap()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.env.landed(ctx, t, run, 200); err != nil {
		return err
	}
	run = s.env.nextRun()
	tag, err := s.PgConn().CopyFrom(ctx, lines(50), "COPY sink (run, n, body) FROM STDIN")
	if err != nil {
		return err
	}
	if tag.RowsAffected() != 50 {
		return fmt.Errorf("copied %d rows of 50", tag.RowsAffected())
	}
	return s.env.landed(ctx, t, run, 50)
}

// warned gets its own warning and no word of what the proxy does.
func (s *px) warned(ctx context.Context, t *tally) error {
	s.mu.Lock()
	s.notices = nil
	s.mu.Unlock()
	for range 3 {
		if _, err := s.Exec(ctx, "COMMIT"); err != nil {
			return err
		}
		nap()
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

// newerProtocol: Materialize refuses anything but 3.0; the proxy negotiates.
func (s *px) newerProtocol(ctx context.Context, t *tally) error {
	c, err := s.env.pgxConfig(s.env.user, "max_protocol_version=3.2", s.mode)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if !s.env.proxied {
		if err == nil {
			return errors.Join(errors.New("the server took protocol 3.2"), conn.Close(ctx))
		}
		return wants(err, "08004")
	}
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	v, err := version(ctx, conn, 1)
	if err == nil {
		t.exchange(v)
	}
	return err
}

// keptState is what a session keeps for life: none of it may get lost in a move.
func (s *px) keptState(ctx context.Context, t *tally) error {
	for _, sql := range []string{"CREATE TEMP TABLE mine (n int)", "INSERT INTO mine VALUES (1), (2)", "SET statement_timeout = '77s'"} {
		if _, err := s.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	for range 3 {
		if err := s.read(ctx, t); err != nil {
			return err
		}
		nap()
	}
	var rows int
	if err := s.QueryRow(ctx, "SELECT count(*) FROM mine").Scan(&rows); err != nil {
		return err
	}
	var timeout string
	if err := s.QueryRow(ctx, "SHOW statement_timeout").Scan(&timeout); err != nil {
		return err
	}
	for _, sql := range []string{"DROP TABLE mine", "RESET statement_timeout"} {
		if _, err := s.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	if rows != 2 || strings.ReplaceAll(timeout, " ", "") != "77s" {
		return fmt.Errorf("it kept %d rows and a timeout of %s", rows, timeout)
	}
	return nil
}

// ownNames is a client that names the live objects itself, in all spellings.
func (s *px) ownNames(ctx context.Context, t *tally) error {
	for _, set := range []struct{ sql, path string }{
		{"SET search_path = prod, public", "prod, public"}, {"SET cluster = prod", "prod, public"}, {"SET search_path TO prod", "prod"},
		{"SET schema = prod", "prod"}, {"SET cluster = prod; SET search_path = prod", "prod"},
	} {
		if _, err := s.Exec(ctx, set.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		if err := s.told("prod", set.path); err != nil {
			return fmt.Errorf("after %s: %w", set.sql, err)
		}
		for range 2 {
			if err := s.read(ctx, t); err != nil {
				return fmt.Errorf("after %s: %w", set.sql, err)
			}
			nap()
		}
	}
	return s.told("prod", "prod")
}

// ownLocal sets what its transaction takes back. What the server tells at the end of
// it are the names that the session has, which may be the new version's.
func (s *px) ownLocal(ctx context.Context, t *tally) error {
	for _, script := range [][]string{
		{"BEGIN", "SET LOCAL search_path = public", "COMMIT"},
		{"BEGIN", "SET search_path = public", "SET cluster = quickstart", "ROLLBACK"},
		{"BEGIN", "SET LOCAL cluster = quickstart", "SELECT no_such_column", "ROLLBACK"},
	} {
		for _, sql := range script {
			_, err := s.PgConn().Exec(ctx, sql).ReadAll()
			if strings.HasPrefix(sql, "SELECT") {
				err = wants(err, "XX000")
			}
			if err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		if err := s.read(ctx, t); err != nil {
			return fmt.Errorf("after %v: %w", script, err)
		}
	}
	return nil
}

// otherNames leaves production: it must see what it asked for, be left alone, and
// be moved again once it comes back.
func (s *px) otherNames(ctx context.Context, t *tally) error {
	for _, sql := range []string{"SET search_path = public", "SET cluster = quickstart"} {
		if _, err := s.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
	for range 3 {
		cluster, path, err := s.shown(ctx)
		if err != nil {
			return err
		}
		if cluster != "quickstart" || path != "public" {
			return fmt.Errorf("it asked for quickstart and public and has %s and %s", cluster, path)
		}
		_, err = version(ctx, s.Conn, 1)
		if err := wants(err, s.env.missing); err != nil {
			return err
		}
		nap()
	}
	if err := s.told("quickstart", "public"); err != nil {
		return err
	}
	for _, sql := range []string{"SET cluster = prod", "SET search_path = prod"} {
		if _, err := s.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
	if err := s.read(ctx, t); err != nil {
		return err
	}
	return s.told("prod", "prod")
}

// restored is what a read gives after a reset: on older servers, connected directly,
// nothing until the client says again what it wants.
func (s *px) restored(ctx context.Context, t *tally) error {
	cluster, path, err := s.shown(ctx)
	if err != nil {
		return err
	}
	if s.env.restores {
		t.exchange(armOf(cluster, path))
		return s.read(ctx, t)
	}
	if cluster != "quickstart" || path != "public" {
		return fmt.Errorf("it was reset to %s and %s", cluster, path)
	}
	_, err = version(ctx, s.Conn, 1)
	return wants(err, s.env.missing)
}

func (s *px) reset(ctx context.Context, t *tally) error {
	for _, sql := range []string{"RESET cluster", "RESET search_path"} {
		if _, err := s.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
	if got := s.PgConn().ParameterStatus("search_path"); got != s.env.told {
		return fmt.Errorf("RESET search_path told of %s instead of %s", got, s.env.told)
	}
	return s.afterReset(ctx, t)
}

func (s *px) discardAll(ctx context.Context, t *tally) error {
	cluster, path := s.PgConn().ParameterStatus("cluster"), s.PgConn().ParameterStatus("search_path")
	if _, err := s.PgConn().Exec(ctx, "DISCARD ALL").ReadAll(); err != nil {
		return err
	}
	if err := s.told(cluster, path); err != nil {
		return fmt.Errorf("DISCARD ALL tells nothing: %w", err)
	}
	if err := s.DeallocateAll(ctx); err != nil { // tells pgx that its statements are gone
		return err
	}
	if err := s.afterReset(ctx, t); err != nil {
		return err
	}
	_, err := s.Prepare(ctx, "kept", oneVersion)
	return err
}

// afterReset looks at what is left, and says again what it wants.
func (s *px) afterReset(ctx context.Context, t *tally) error {
	if err := s.restored(ctx, t); err != nil {
		return err
	}
	if _, err := s.PgConn().Exec(ctx, "SET cluster = prod; SET search_path = prod").ReadAll(); err != nil {
		return err
	}
	return s.read(ctx, t)
}

// stopper cancels what runs, once it has given enough: a stream that has to wait for
// its turn must not be cancelled before it begins.
type stopper struct {
	s     *px
	ctx   context.Context
	seen  []string
	asked chan error
}

const enough = 3

func (s *px) stopper(ctx context.Context) *stopper {
	return &stopper{s: s, ctx: ctx, asked: make(chan error, 1)}
}

func (p *stopper) saw(version string) {
	if p.seen = append(p.seen, version); len(p.seen) == enough {
		go func() { p.asked <- p.s.PgConn().CancelRequest(p.ctx) }()
	}
}

// Write takes a line of COPY data, whose last column is the version.
func (p *stopper) Write(line []byte) (int, error) {
	fields := bytes.Split(bytes.TrimSpace(line), []byte{'\t'})
	p.saw(string(fields[len(fields)-1]))
	return len(line), nil
}

// ended judges how the stream ended.
func (p *stopper) ended(err error, t *tally) error {
	if err := wants(err, "57014"); err != nil {
		return fmt.Errorf("after %d changes: %w", len(p.seen), err)
	}
	if err := <-p.asked; err != nil {
		return fmt.Errorf("ask for the cancel: %w", err)
	}
	t.exchange(p.seen...)
	return p.s.read(p.ctx, t)
}

// subscribe reads a stream as it comes and cancels it: it stays on the version it
// began with.
func (s *px) subscribe(ctx context.Context, t *tally) error {
	stop := s.stopper(ctx)
	results := s.PgConn().Exec(ctx, "SUBSCRIBE news")
	for results.NextResult() {
		r := results.ResultReader()
		for r.NextRow() {
			stop.saw(string(r.Values()[3]))
		}
		_, _ = r.Close() // the error comes again from results.Close
	}
	return stop.ended(results.Close(), t)
}

func (s *px) copySubscribe(ctx context.Context, t *tally) error {
	stop := s.stopper(ctx)
	_, err := s.PgConn().CopyTo(ctx, stop, "COPY (SUBSCRIBE news) TO STDOUT")
	return stop.ended(err, t)
}

// subscribeCursor is how Materialize's pages show it, and asks on the way which
// cluster it is on.
func (s *px) subscribeCursor(ctx context.Context, t *tally) error {
	return pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DECLARE c CURSOR FOR SUBSCRIBE news"); err != nil {
			return err
		}
		var seen []string
		for range 3 {
			got, err := s.PgConn().Exec(ctx, "FETCH ALL c WITH (timeout = '120ms')").ReadAll()
			if err != nil {
				return err
			}
			for _, row := range got[0].Rows {
				seen = append(seen, string(row[3]))
			}
			cluster, path, err := s.shown(ctx)
			if err != nil {
				return err
			}
			seen = append(seen, armOf(cluster, path))
		}
		t.transaction(seen...)
		if len(seen) < 5 {
			return fmt.Errorf("only %d changes", len(seen)-3)
		}
		return nil
	})
}

package crowd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// ask reads one of the two views and returns the version, or both when the rows
// of one answer disagree.
func (c *client) ask(ctx context.Context, q querier) (Version, error) {
	var rows pgx.Rows
	var err error
	if c.rng.IntN(3) == 0 {
		rows, err = q.Query(ctx, "SELECT version, n FROM total")
	} else {
		rows, err = q.Query(ctx, "SELECT version, k FROM answer WHERE k = $1", 1+c.rng.IntN(3))
	}
	if err != nil {
		return NoVersion, err
	}
	return versions(rows)
}

func versions(rows pgx.Rows) (Version, error) {
	defer rows.Close()
	seen := NoVersion
	for rows.Next() {
		var version string
		var n int64
		if err := rows.Scan(&version, &n); err != nil {
			return NoVersion, err
		}
		seen |= ParseVersion(version)
	}
	if err := rows.Err(); err != nil {
		return NoVersion, err
	}
	if seen == NoVersion {
		return NoVersion, errors.New("an answer without rows, which the views always have")
	}
	return seen, nil
}

// transaction reads twice with a pause between: the place where two versions
// could meet without any error.
func (c *client) transaction(ctx context.Context, conn *pgx.Conn) (Version, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return NoVersion, err
	}
	defer tx.Rollback(ctx) // after Commit this does nothing
	seen := NoVersion
	for i := range 2 {
		if i > 0 {
			c.pause(c.opts.Think / 4)
		}
		v, err := versionOf(tx.Query(ctx, "SELECT version, k FROM answer WHERE k = $1", 1+c.rng.IntN(3)))
		if err != nil {
			return NoVersion, err
		}
		seen |= v
	}
	return seen, tx.Commit(ctx)
}

func versionOf(rows pgx.Rows, err error) (Version, error) {
	if err != nil {
		return NoVersion, err
	}
	return versions(rows)
}

// batch pipelines three reads behind one Sync.
func (c *client) batch(ctx context.Context, conn *pgx.Conn) (Version, error) {
	b := &pgx.Batch{}
	for k := 1; k <= 3; k++ {
		b.Queue("SELECT version, k FROM answer WHERE k = $1", k)
	}
	results := conn.SendBatch(ctx, b)
	defer results.Close()
	seen := NoVersion
	for range 3 {
		v, err := versionOf(results.Query())
		if err != nil {
			return NoVersion, err
		}
		seen |= v
	}
	return seen, results.Close()
}

func (c *client) copyOut(ctx context.Context, conn *pgx.Conn) (Version, error) {
	var out bytes.Buffer
	if _, err := conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT version, k FROM answer) TO STDOUT"); err != nil {
		return NoVersion, err
	}
	seen := NoVersion
	for line := range bytes.Lines(out.Bytes()) {
		version, _, _ := bytes.Cut(line, []byte("\t"))
		seen |= ParseVersion(string(version))
	}
	if seen == NoVersion {
		return NoVersion, fmt.Errorf("COPY gave no version but %q", out.String())
	}
	return seen, nil
}

// subscribe reads a stream for a while and then cancels it, as such a client
// does. Its version is the one it began with; a row of another one is mixed. The
// cancel waits for the first row: sent before the server runs the statement, it
// would be lost, and nothing would ever end the stream.
func (c *client) subscribe(ctx context.Context, conn *pgx.Conn) (Version, error) {
	reading, done := context.WithCancel(ctx)
	defer done()
	cancelled, began := make(chan error, 1), make(chan struct{})
	first := sync.OnceFunc(func() { close(began) })
	length := time.Second + time.Duration(c.rng.Int64N(int64(2*time.Second)))
	go func() {
		t := time.NewTimer(length)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.stop:
		case <-reading.Done():
			cancelled <- nil
			return
		}
		select {
		case <-began:
		case <-reading.Done():
			cancelled <- nil
			return
		}
		cancelled <- conn.PgConn().CancelRequest(ctx)
	}()
	seen := NoVersion
	results := conn.PgConn().Exec(ctx, "SUBSCRIBE total")
	for results.NextResult() {
		rr := results.ResultReader()
		for rr.NextRow() {
			first()
			seen |= ParseVersion(string(rr.Values()[2]))
		}
		_, _ = rr.Close() // the error comes again from results.Close
	}
	err := results.Close()
	done()
	if cancelErr := <-cancelled; cancelErr != nil && err == nil {
		err = cancelErr
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "57014" {
		err = nil // its own cancel
	}
	return seen, err
}

// cursor consumes a SUBSCRIBE by FETCH inside a transaction, the usual way.
func (c *client) cursor(ctx context.Context, conn *pgx.Conn) (Version, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return NoVersion, err
	}
	defer tx.Rollback(ctx) // after Commit this does nothing
	if _, err := tx.Exec(ctx, "DECLARE c CURSOR FOR SUBSCRIBE total"); err != nil {
		return NoVersion, err
	}
	seen := NoVersion
	for range 2 + c.rng.IntN(4) {
		results := conn.PgConn().Exec(ctx, "FETCH 1 c")
		for results.NextResult() {
			rr := results.ResultReader()
			for rr.NextRow() {
				seen |= ParseVersion(string(rr.Values()[2]))
			}
			_, _ = rr.Close() // the error comes again from results.Close
		}
		if err := results.Close(); err != nil {
			return NoVersion, err
		}
		if c.stopped() {
			break
		}
	}
	return seen, tx.Commit(ctx)
}

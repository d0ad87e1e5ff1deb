package checker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// mode is how a client talks.
type mode struct {
	name string
	pin  Pin
	exec pgx.QueryExecMode
	// units bounds how many a session does before it reconnects; 0 is no bound.
	units int
	work  func(c *client, ctx context.Context, conn *pgx.Conn, u *unit) error
}

const (
	simple   = pgx.QueryExecModeSimpleProtocol
	extended = pgx.QueryExecModeExec
	describe = pgx.QueryExecModeDescribeExec
	prepared = pgx.QueryExecModeCacheStatement // named statements, prepared once
)

// modes are dealt out in this order, so that 24 clients are one round.
var modes = []mode{
	{name: "simple", exec: simple, work: (*client).ask},
	{name: "extended", exec: extended, work: (*client).ask},
	{name: "prepared", exec: prepared, work: (*client).ask},
	{name: "transaction", exec: prepared, work: (*client).transaction},
	{name: "batch", exec: prepared, work: (*client).batch},
	{name: "copy", exec: simple, work: (*client).copying},
	{name: "subscribe", exec: simple, work: (*client).subscribe},
	{name: "cursor", exec: simple, work: (*client).cursor},
	{name: "reconnecting", exec: describe, units: 4, work: (*client).ask},
	{name: "pinned canary", pin: ByCanary, exec: prepared, units: 60, work: (*client).ask},
	{name: "pinned stable", pin: ByStable, exec: prepared, work: (*client).ask},
	{name: "deploy names", pin: ByNames, exec: simple, units: 60, work: (*client).ask},
	{name: "two statements", exec: simple, work: (*client).twoStatements},
	{name: "pipeline", exec: simple, units: 1, work: (*client).pipeline},
	{name: "held up", exec: simple, work: (*client).heldUp},
	{name: "half message", exec: simple, units: 1, work: (*client).halfAMessage},
	{name: "prepared", exec: prepared, work: (*client).ask},
	{name: "transaction", exec: simple, work: (*client).transaction},
	{name: "batch", exec: extended, work: (*client).batch},
	{name: "subscribe", exec: simple, work: (*client).subscribe},
	{name: "reconnecting", exec: prepared, units: 1, work: (*client).ask},
	{name: "pinned canary", pin: ByCanary, exec: simple, units: 40, work: (*client).transaction},
	{name: "writer", exec: prepared, work: (*client).writing},
	{name: "prepared", exec: prepared, work: (*client).mixed},
}

// modes are those that the server knows.
func (n Names) modes() []mode {
	if !n.Postgres {
		return modes
	}
	return slices.DeleteFunc(slices.Clone(modes), func(m mode) bool { return m.name == "subscribe" || m.name == "cursor" })
}

func (m mode) mayConnect(c *crowd) bool {
	switch m.pin {
	case ByCanary:
		return c.canaryOpen.Load()
	case ByNames:
		return c.namesOpen.Load()
	}
	return true
}

// mayGoOn: clients with deploy names of their own leave before those are rebuilt.
func (m mode) mayGoOn(c *crowd) bool { return m.pin != ByNames || c.namesOpen.Load() }

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (c *client) ask(ctx context.Context, conn *pgx.Conn, u *unit) error { return c.read(ctx, conn, u) }

// read asks one of the two views.
func (c *client) read(ctx context.Context, q querier, u *unit) error {
	var rows pgx.Rows
	var err error
	if c.rng.IntN(3) == 0 {
		rows, err = q.Query(ctx, "SELECT version, n FROM total")
	} else {
		rows, err = q.Query(ctx, "SELECT version, k FROM answer WHERE k = $1", 1+c.rng.IntN(3))
	}
	if err != nil {
		return err
	}
	return c.rows(rows, u)
}

var errNoRows = errors.New("an answer without rows, which the views always have")

func (c *client) rows(rows pgx.Rows, u *unit) error {
	defer rows.Close()
	n := 0
	for rows.Next() {
		var version int
		var other int64
		if err := rows.Scan(&version, &other); err != nil {
			return err
		}
		u.row(version, c.clock())
		n++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n == 0 {
		return errNoRows
	}
	return nil
}

// transaction reads several times with pauses: the place where two versions could
// meet without any error.
func (c *client) transaction(ctx context.Context, conn *pgx.Conn, u *unit) error {
	return c.reads(ctx, conn, u, 2+c.rng.IntN(2), c.think/3)
}

func (c *client) reads(ctx context.Context, conn *pgx.Conn, u *unit, n int, pause time.Duration) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // after Commit this does nothing
	for i := range n {
		if i > 0 {
			c.pause(pause)
		}
		// Within a transaction one view only: all of its reads are at one time.
		rows, err := tx.Query(ctx, "SELECT version, k FROM answer WHERE k = $1", 1+c.rng.IntN(3))
		if err != nil {
			return err
		}
		if err := c.rows(rows, u); err != nil {
			return err
		}
	}
	if c.rng.IntN(4) == 0 {
		return tx.Rollback(ctx)
	}
	return tx.Commit(ctx)
}

// heldUp keeps a transaction open for as long as the script says.
func (c *client) heldUp(ctx context.Context, conn *pgx.Conn, u *unit) error {
	if d := time.Duration(c.longTx.Load()); d > 0 {
		return c.reads(ctx, conn, u, 2, d)
	}
	return c.read(ctx, conn, u)
}

// batch pipelines three reads behind one Sync.
func (c *client) batch(ctx context.Context, conn *pgx.Conn, u *unit) error {
	b := &pgx.Batch{}
	for k := 1; k <= 3; k++ {
		b.Queue("SELECT version, k FROM answer WHERE k = $1", k)
	}
	results := conn.SendBatch(ctx, b)
	defer results.Close()
	for range 3 {
		rows, err := results.Query()
		if err != nil {
			return err
		}
		if err := c.rows(rows, u); err != nil {
			return err
		}
	}
	return results.Close()
}

// twoStatements sends two reads in one Query.
func (c *client) twoStatements(ctx context.Context, conn *pgx.Conn, u *unit) error {
	return c.results(ctx, conn, u, 0, "SELECT version, k FROM answer WHERE k = 1; SELECT version, k FROM answer WHERE k = 2")
}

// results reads a simple Query with the version in the given column.
func (c *client) results(ctx context.Context, conn *pgx.Conn, u *unit, column int, sql string) error {
	results := conn.PgConn().Exec(ctx, sql)
	for results.NextResult() {
		c.drain(results.ResultReader(), u, column)
	}
	return results.Close()
}

// drain reads rows; the error comes again from whoever owns the reader.
func (c *client) drain(rr *pgconn.ResultReader, u *unit, column int) error {
	for rr.NextRow() {
		if v, err := strconv.Atoi(string(rr.Values()[column])); err == nil {
			u.row(v, c.clock())
		}
	}
	_, err := rr.Close()
	return err
}

// copying copies out of a view, or into a table.
func (c *client) copying(ctx context.Context, conn *pgx.Conn, u *unit) error {
	if c.rng.IntN(3) == 0 {
		w := c.newWrite()
		_, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(w.ID+"\n"), "COPY "+c.names.Written()+" FROM STDIN")
		w.Acked = err == nil
		return err
	}
	var out bytes.Buffer
	if _, err := conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT version, k FROM answer) TO STDOUT"); err != nil {
		return err
	}
	for line := range bytes.Lines(out.Bytes()) {
		text, _, _ := bytes.Cut(line, []byte("\t"))
		v, err := strconv.Atoi(string(text))
		if err != nil {
			return fmt.Errorf("COPY gave no version but %q", out.String())
		}
		u.row(v, c.clock())
	}
	if len(u.Versions) == 0 {
		return errNoRows
	}
	return nil
}

// writing inserts one row that nobody else inserts.
func (c *client) writing(ctx context.Context, conn *pgx.Conn, _ *unit) error {
	w := c.newWrite()
	_, err := conn.Exec(ctx, "INSERT INTO "+c.names.Written()+" VALUES ($1)", w.ID)
	w.Acked = err == nil
	return err
}

func (c *client) newWrite() *Write {
	who := c.who
	c.writes = append(c.writes, Write{Who: who, ID: fmt.Sprintf("c%d-s%d-%d", c.id, who.Session, len(c.writes))})
	return &c.writes[len(c.writes)-1]
}

// mixed does everything an ordinary application does, one after the other.
func (c *client) mixed(ctx context.Context, conn *pgx.Conn, u *unit) error {
	switch c.rng.IntN(5) {
	case 0:
		return c.transaction(ctx, conn, u)
	case 1:
		return c.batch(ctx, conn, u)
	case 2:
		return c.copying(ctx, conn, u)
	case 3:
		return c.twoStatements(ctx, conn, u)
	}
	return c.read(ctx, conn, u)
}

// subscribe reads a stream for a while and then cancels it, as such a client does.
func (c *client) subscribe(ctx context.Context, conn *pgx.Conn, u *unit) error {
	u.Stream, u.first = true, make(chan struct{})
	over, done := context.WithCancel(ctx)
	cancelled := make(chan struct{})
	length := 50*time.Millisecond + time.Duration(c.rng.Int64N(int64(400*time.Millisecond)))
	go func() {
		defer close(cancelled)
		c.cancelAfter(over, conn, u, length)
	}()
	err := c.stream(ctx, conn, u)
	done()
	<-cancelled
	return err
}

func (c *client) stream(ctx context.Context, conn *pgx.Conn, u *unit) error {
	switch c.rng.IntN(4) {
	case 0:
		return c.drain(conn.PgConn().ExecParams(ctx, "SUBSCRIBE total", nil, nil, nil, nil), u, 2)
	case 1:
		var lines versionLines = func(line []byte) {
			if fields := bytes.Split(line, []byte("\t")); len(fields) > 2 {
				if v, err := strconv.Atoi(string(fields[2])); err == nil {
					u.row(v, c.clock())
				}
			}
		}
		_, err := conn.PgConn().CopyTo(ctx, lines, "COPY (SUBSCRIBE total) TO STDOUT")
		return err
	case 2:
		return c.results(ctx, conn, u, 2, "SUBSCRIBE total WITH (SNAPSHOT = false)")
	}
	return c.results(ctx, conn, u, 2, "SUBSCRIBE total")
}

// The patience of a client that cancels: a cancel may overtake the statement it is
// meant for, so it is sent again; one that was sent after the first row may not.
const (
	cancelAgain = time.Second
	cancelLost  = 6 * time.Second
)

// cancelAfter cancels the unit after a while, and again while that has no effect.
func (c *client) cancelAfter(over context.Context, conn *pgx.Conn, u *unit, length time.Duration) {
	stop, certain := c.stop, time.Duration(0)
	for {
		t := time.NewTimer(length)
		select {
		case <-t.C:
		case <-stop:
			stop = nil
		case <-over.Done():
			t.Stop()
			return
		}
		t.Stop()
		u.cancelled = true
		running := u.running()
		if err := conn.PgConn().CancelRequest(over); err != nil {
			return // the stream, or its server, has ended
		}
		switch now := c.clock(); {
		case running && certain == 0:
			certain = now
		case certain != 0 && now-certain > cancelLost:
			u.cancelFailed = true
		}
		length = cancelAgain
	}
}

// versionLines is told of every message of a COPY, which is a line each.
type versionLines func(line []byte)

func (f versionLines) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		f(line)
	}
	return len(p), nil
}

// cursor consumes a SUBSCRIBE by FETCH inside a transaction, the usual way.
func (c *client) cursor(ctx context.Context, conn *pgx.Conn, u *unit) error {
	u.Stream = true
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // after Commit this does nothing
	if _, err := tx.Exec(ctx, "DECLARE c CURSOR FOR SUBSCRIBE total"); err != nil {
		return err
	}
	for range 2 + c.rng.IntN(5) {
		if err := c.results(ctx, conn, u, 2, "FETCH ALL c WITH (timeout = '1s')"); err != nil {
			return err
		}
		c.pause(2 * c.think)
	}
	return tx.Commit(ctx)
}

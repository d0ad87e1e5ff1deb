package mz

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed queries/*/*.sql
var queryFiles embed.FS

// text of a query, without its comment.
func (d dialect) text(name string) string {
	raw, err := queryFiles.ReadFile("queries/" + d.kind + "/" + name + ".sql")
	if err != nil {
		panic("mz: no such query: " + err.Error()) // a test reads every one
	}
	lines := strings.Split(string(raw), "\n")
	kept := lines[:0]
	for _, line := range lines {
		if !strings.HasPrefix(line, "--") {
			kept = append(kept, line)
		}
	}
	return strings.TrimSuffix(strings.TrimSpace(strings.Join(kept, "\n")), ";")
}

// row is one answer row in text format; nil is NULL.
type row [][]byte

func (r row) text(i int) string { return string(r[i]) }
func (r row) null(i int) bool   { return r[i] == nil }

// yes reads a boolean, which servers print as t or true.
func (r row) yes(i int) bool { return len(r[i]) > 0 && r[i][0] == 't' }

// number reads a count; NULL and nonsense are zero.
func (r row) number(i int) int {
	n, _ := strconv.Atoi(string(r[i])) // our own queries cast counts to text
	return n
}

// seconds reads an interval or a time as seconds; ok is false for NULL.
func (r row) seconds(i int) (d float64, ok bool) {
	d, err := strconv.ParseFloat(string(r[i]), 64)
	return d, err == nil
}

// duration reads seconds as a duration; ok is false for NULL and for what does not
// fit one.
func (r row) duration(i int) (time.Duration, bool) {
	s, ok := r.seconds(i)
	if !ok || s > (1<<62)/float64(time.Second) {
		return 0, false
	}
	return time.Duration(s * float64(time.Second)), true
}

// read runs one embedded query on the reading connection. A connection that turns
// out to have died while it was idle is replaced once.
func (w *Warehouse) read(ctx context.Context, name string, args ...string) ([]row, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.ReadTimeout)
	defer cancel()
	for {
		conn, fresh, err := w.reading.acquire(ctx)
		if err != nil {
			return nil, err
		}
		rows, err := conn.query(ctx, w.dialect.text(name), args...)
		lost := err != nil && answered(err) == nil
		if lost {
			w.reading.drop()
		}
		w.reading.release()
		switch {
		case err == nil:
			return rows, nil
		case lost && !fresh && ctx.Err() == nil:
			continue // it had died while nobody used it
		}
		return nil, w.failed(ctx, "reading the catalog ("+name+")", err)
	}
}

const oidText = 25

// query runs one statement by the extended protocol with text parameters.
func (c *connection) query(ctx context.Context, text string, args ...string) ([]row, error) {
	values := make([][]byte, len(args))
	oids := make([]uint32, len(args))
	for i, a := range args {
		values[i], oids[i] = []byte(a), oidText
	}
	res := c.pg.ExecParams(ctx, text, values, oids, nil, nil).Read()
	if res.Err != nil {
		return nil, res.Err
	}
	rows := make([]row, len(res.Rows))
	for i, r := range res.Rows {
		rows[i] = r
	}
	return rows, nil
}

// exec runs one statement by the simple protocol and returns its command tag.
func (c *connection) exec(ctx context.Context, statement string) (tag string, err error) {
	*c.notices = (*c.notices)[:0]
	results, err := c.pg.Exec(ctx, statement).ReadAll()
	if n := len(results); n > 0 {
		tag = results[n-1].CommandTag.String()
	}
	return tag, err
}

// change runs one statement on the DDL connection, alone and outside a transaction,
// and insists on its tag. It is never sent twice.
func (w *Warehouse) change(ctx context.Context, statement, wantTag string) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.DDLTimeout)
	defer cancel()
	conn, err := w.liveDDL(ctx)
	if err != nil {
		return err
	}
	defer w.ddl.release()
	tag, err := conn.exec(ctx, statement)
	w.noteReadOnly(err)
	if err != nil {
		return w.failed(ctx, statement, err)
	}
	if n := conn.notices.find(codeNotGiven, codeNotTaken); n != nil {
		return w.failed(ctx, statement, (*pgconn.PgError)(n))
	}
	if tag != wantTag {
		return fmt.Errorf("%s: the server answered %q instead of %q", statement, tag, wantTag)
	}
	w.log.Info("changed", "statement", statement)
	return nil
}

// liveDDL acquires the DDL connection and makes sure that it still answers, so that
// a statement is not lost in a connection that died while it was idle.
func (w *Warehouse) liveDDL(ctx context.Context) (*connection, error) {
	for {
		conn, fresh, err := w.ddl.acquire(ctx)
		if err != nil || fresh {
			return conn, err
		}
		if _, err = conn.exec(ctx, ""); err == nil {
			return conn, nil
		}
		w.ddl.drop()
		w.ddl.release()
		if ctx.Err() != nil {
			return nil, w.unavailable(ctx, fmt.Errorf("asking the ddl connection: %w", err))
		}
	}
}

// noteReadOnly remembers whether the server takes DDL.
func (w *Warehouse) noteReadOnly(err error) {
	pgErr := answered(err)
	w.readOnly.Store(pgErr != nil && w.dialect.readOnly(pgErr))
}

// quoteIdent quotes a name for use in a statement.
func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoteText quotes a text; both servers run with standard_conforming_strings on.
func quoteText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

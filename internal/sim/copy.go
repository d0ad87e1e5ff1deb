package sim

import (
	"bytes"
	"context"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim/sql"
)

// describeCopy finds what a COPY reads or writes; a client is told no columns.
func (se *session) describeCopy(st *sql.Copy) (description, error) {
	switch {
	case st.From:
		o, err := se.table(se.catalog(), st.Relation)
		if err != nil {
			return description{}, err
		}
		columns, err := copyColumns(o, st.Columns)
		return description{copy: true, columns: columns}, err
	case st.Subscribe != nil:
		p, err := se.subscribePlan(st.Subscribe)
		if err != nil {
			return description{}, err
		}
		return description{copy: true, rows: true, columns: p.columns}, nil
	}
	q, err := copyQuery(st)
	if err != nil {
		return description{}, err
	}
	d, err := se.describeQuery(q, nil)
	d.copy = true
	return d, err
}

// copyQuery is the query of COPY … TO; a relation is read whole.
func copyQuery(st *sql.Copy) (*sql.Query, error) {
	if st.Query != nil {
		return st.Query, nil
	}
	columns := "*"
	if len(st.Columns) > 0 {
		quoted := make([]string, len(st.Columns))
		for i, c := range st.Columns {
			quoted[i] = sql.QuoteIdent(c)
		}
		columns = strings.Join(quoted, ", ")
	}
	return sql.ParseQuery("SELECT " + columns + " FROM " + st.Relation.String())
}

func copyColumns(o *object, names []string) ([]sql.Column, error) {
	if len(names) == 0 {
		return o.columns, nil
	}
	var out []sql.Column
	for _, n := range names {
		i := columnIndex(o, n)
		if i < 0 {
			return nil, failf("XX000", "column %q does not exist", n)
		}
		out = append(out, o.columns[i])
	}
	return out, nil
}

func (se *session) runCopy(ctx context.Context, st *sql.Copy) (outcome, error) {
	if st.Format == "binary" {
		if st.From {
			return outcome{}, failf(se.s.unsupported(), "FORMAT BINARY not yet supported")
		}
		return outcome{}, refuse("COPY TO in binary format is not supported")
	}
	switch {
	case st.From:
		return se.copyIn(st)
	case st.Subscribe != nil:
		return se.copySubscribe(ctx, st)
	}
	q, err := copyQuery(st)
	if err != nil {
		return outcome{}, err
	}
	desc, err := se.describeQuery(q, nil)
	if err != nil {
		return outcome{}, err
	}
	rows, err := se.runSelect(ctx, q, desc, nil)
	if err != nil {
		return outcome{}, err
	}
	return outcome{stream: func(context.Context, []int16) (string, error) {
		se.copyOut(len(desc.columns))
		for i, row := range rows {
			se.send(&pgproto3.CopyData{Data: sql.EncodeCopyRow(st, row, desc.columns)})
			if i%flushAt == flushAt-1 {
				if err := se.flush(); err != nil {
					return "", err
				}
			}
		}
		se.send(&pgproto3.CopyDone{})
		return outcome{tag: "COPY", counted: true}.finish(len(rows)), nil
	}}, nil
}

func (se *session) copyOut(columns int) {
	se.sendNotices()
	se.send(&pgproto3.CopyOutResponse{OverallFormat: 0, ColumnFormatCodes: make([]uint16, columns)})
}

// copyIn reads rows from the client and stages them like an INSERT.
func (se *session) copyIn(st *sql.Copy) (outcome, error) {
	c := se.catalog()
	o, err := se.table(c, st.Relation)
	if err != nil {
		return outcome{}, err
	}
	columns, err := copyColumns(o, st.Columns)
	if err != nil {
		return outcome{}, err
	}
	if err := se.mayWrite(c, o, privInsert); err != nil {
		return outcome{}, err
	}
	if err := se.s.faults.writable(); err != nil {
		return outcome{}, err
	}
	if err := se.tx.admit(opsWrites, false); err != nil {
		return outcome{}, err
	}
	return outcome{stream: func(ctx context.Context, _ []int16) (string, error) {
		se.send(&pgproto3.CopyInResponse{OverallFormat: 0, ColumnFormatCodes: make([]uint16, len(columns))})
		if err := se.flush(); err != nil {
			return "", err
		}
		rows, err := se.readCopy(ctx, st, o, columns)
		if err != nil {
			return "", err
		}
		se.tx.writes = append(se.tx.writes, stagedWrite{o.id, rows})
		return outcome{tag: "COPY", counted: true}.finish(len(rows)), nil
	}}, nil
}

// readCopy collects the client's CopyData up to CopyDone. A row may be split between messages. After an error the
// rest is read and thrown away, so that the client's data is not taken for messages.
func (se *session) readCopy(ctx context.Context, st *sql.Copy, o *object, columns []sql.Column) ([][]sql.Value, error) {
	var rows [][]sql.Value
	var rest []byte
	var failed error
	first := true
	take := func(line []byte) {
		line = bytes.TrimSuffix(line, []byte("\r"))
		skip := first && st.Header
		first = false
		if skip || failed != nil || string(line) == `\.` {
			return
		}
		values, err := sql.DecodeCopyRow(st, line, columns)
		if err == nil {
			values, err = widen(o, columns, values)
		}
		if err != nil {
			failed = err
			return
		}
		rows = append(rows, values)
	}
	for {
		msg, err := se.receive(ctx)
		if err != nil {
			return nil, err
		}
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			rest = append(rest, m.Data...)
			for {
				line, after, ok := bytes.Cut(rest, []byte("\n"))
				if !ok {
					break
				}
				take(line)
				rest = after
			}
		case *pgproto3.CopyDone:
			if len(rest) > 0 {
				take(rest)
			}
			return rows, failed
		case *pgproto3.CopyFail:
			if failed == nil {
				failed = failf("57014", "COPY from stdin failed: %s", m.Message)
			}
			return nil, failed
		case *pgproto3.Sync, *pgproto3.Flush:
		case *pgproto3.Terminate:
			return nil, errGone
		default:
			return nil, failf("08P01", "unexpected message type during COPY from stdin")
		}
	}
}

// widen puts the values of some columns into a whole row, the others NULL.
func widen(o *object, columns []sql.Column, values []sql.Value) ([]sql.Value, error) {
	row := make([]sql.Value, len(o.columns))
	for i, c := range columns {
		row[columnIndex(o, c.Name)] = values[i]
	}
	for i, c := range o.columns {
		if row[i] == nil && !c.Nullable {
			return nil, failf("23502", "null value in column %q violates not-null constraint", c.Name)
		}
	}
	return row, nil
}

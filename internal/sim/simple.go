package sim

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim/sql"
)

// maxSQL is the longest text of one Query or Parse, in bytes.
const maxSQL = 1_000_000

// run answers the client's messages until the connection ends.
func (se *session) run(ctx context.Context) error {
	for {
		idle := se.s.now()
		msg, err := se.receive(ctx)
		if err == nil && se.idledOut(idle) {
			err = failf("25P03", "terminating connection due to idle-in-transaction timeout")
		}
		if err != nil {
			if !errors.Is(err, errGone) {
				se.sendError("FATAL", err)
				_ = se.flush() // the session ends either way
			}
			return err
		}
		if err := se.handle(ctx, msg); err != nil {
			return err
		}
	}
}

// idledOut says whether the client left a transaction open for too long. The server ends such a session in silence and
// says so only in answer to its next message.
func (se *session) idledOut(since time.Time) bool {
	if se.tx.status == txnNone {
		return false
	}
	limit, err := parseTimeout(se.vars.get("idle_in_transaction_session_timeout").text)
	return err == nil && limit > 0 && se.s.now().Sub(since) > limit
}

// handle answers one message; an error ends the session.
func (se *session) handle(ctx context.Context, msg pgproto3.FrontendMessage) error {
	if _, isExecute := msg.(*pgproto3.Execute); !isExecute && se.executed {
		if err := se.eagerCommit(); err != nil {
			return err
		}
	}
	switch m := msg.(type) {
	case *pgproto3.Terminate:
		return errGone
	case *pgproto3.Sync:
		return se.sync()
	case *pgproto3.Query:
		if se.draining {
			return nil
		}
		return se.query(ctx, m.String)
	case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
		if !se.s.behaves().strayCopyIgnored {
			se.draining = true
		}
		return nil
	case *pgproto3.Flush:
		if se.draining {
			return nil
		}
		return se.flush()
	case *pgproto3.FunctionCall:
		se.sendError("FATAL", failf("08006", "unknown message type 70"))
		_ = se.flush() // the session ends either way
		return errGone
	case *pgproto3.Parse, *pgproto3.Bind, *pgproto3.Describe, *pgproto3.Execute, *pgproto3.Close:
		if se.draining {
			return nil
		}
		return se.extendedError(se.extended(ctx, msg))
	}
	return se.extendedError(failf("08P01", "unexpected message"))
}

// query is a simple Query: the whole text is parsed first, then every statement is described and executed.
func (se *session) query(ctx context.Context, text string) error {
	var stmts []sql.Statement
	err := se.checkText(text)
	if err == nil {
		stmts, err = se.s.parsed.parse(text)
	}
	if err != nil {
		se.announceEnd(se.fail())
		se.replies++
		se.sendError("ERROR", err)
		return se.ready()
	}
	if len(stmts) == 0 {
		se.send(&pgproto3.EmptyQueryResponse{})
		return se.ready()
	}
	for _, st := range stmts {
		se.start(len(stmts))
		if err := se.one(ctx, st); err != nil {
			return se.queryFailed(err)
		}
	}
	if se.tx.status == txnStarted || se.tx.status == txnImplicit {
		changed, err := se.commit()
		if err != nil {
			return se.queryFailed(err)
		}
		se.announceEnd(changed)
	}
	return se.ready()
}

func (se *session) queryFailed(err error) error {
	if errors.Is(err, errGone) {
		se.rollback()
		return err
	}
	se.sendError("ERROR", err)
	se.announceEnd(se.fail())
	return se.ready()
}

// announceEnd reports what the end of an implicit transaction changed, on servers that do.
func (se *session) announceEnd(changed []change) {
	if se.s.behaves().announceLocalEnd {
		se.reportAll(changed)
	}
}

func (se *session) checkText(text string) error {
	if len(text) > maxSQL {
		return failf("54000", "statement batch size cannot exceed 976.6 KiB")
	}
	return nil
}

// one executes one statement of a simple Query and sends everything up to its CommandComplete.
func (se *session) one(ctx context.Context, st sql.Statement) error {
	se.replies++
	if se.tx.status == txnFailed && !endsTransaction(st) {
		return errAborted()
	}
	desc, err := se.describe(st, nil)
	if err != nil {
		return err
	}
	if len(desc.params) > 0 {
		return failf("42P02", "there is no parameter $1")
	}
	if desc.rows && !desc.copy {
		se.send(rowDescription(desc.columns, nil))
	}
	ctx, done := se.begin(ctx)
	defer done()
	out, err := se.execute(ctx, call{ast: st, desc: desc})
	if err != nil {
		return err
	}
	se.sendNotices()
	tag := out.tag
	switch {
	case out.stream != nil:
		if tag, err = out.stream(ctx, nil); err != nil {
			return err
		}
	case out.hasRows:
		if err := se.sendRows(out.rows, out.columns, nil); err != nil {
			return err
		}
		tag = out.finish(len(out.rows))
	}
	se.sendNotices()
	se.send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
	return nil
}

// finish is the tag after n rows were sent.
func (o outcome) finish(n int) string {
	if o.counted {
		return o.tag + " " + strconv.Itoa(n)
	}
	return o.tag
}

// flushAt keeps an answer from growing in memory: beyond this many rows it is written out.
const flushAt = 256

func (se *session) sendRows(rows [][]sql.Value, columns []sql.Column, formats []int16) error {
	row := &pgproto3.DataRow{}
	for i, values := range rows {
		encoded, err := encodeRow(row.Values[:0], values, columns, formats)
		if err != nil {
			return err
		}
		row.Values = encoded
		se.send(row)
		if i%flushAt == flushAt-1 {
			if err := se.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func encodeRow(dst [][]byte, values []sql.Value, columns []sql.Column, formats []int16) ([][]byte, error) {
	for i, v := range values {
		switch {
		case v == nil:
			dst = append(dst, nil)
		case formatOf(formats, i) == 1:
			b, err := sql.EncodeBinary(v, columns[i].Type)
			if err != nil {
				return dst, err
			}
			dst = append(dst, b)
		default:
			text := sql.EncodeText(v, columns[i].Type)
			if text == nil {
				text = []byte{} // nil would be NULL
			}
			dst = append(dst, text)
		}
	}
	return dst, nil
}

// formatOf reads result formats as Bind gives them: none is text, one is for all.
func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 0:
		return 0
	case len(formats) == 1:
		return formats[0]
	case i < len(formats):
		return formats[i]
	}
	return 0
}

func rowDescription(columns []sql.Column, formats []int16) *pgproto3.RowDescription {
	m := &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, len(columns))}
	for i, c := range columns {
		m.Fields[i] = pgproto3.FieldDescription{Name: []byte(c.Name), DataTypeOID: c.Type.OID, DataTypeSize: c.Type.Size,
			TypeModifier: c.TypeMod, Format: formatOf(formats, i)}
	}
	return m
}

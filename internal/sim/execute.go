package sim

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim/sql"
)

// outcome is what executing a statement gave: rows to send, or something that sends by itself.
type outcome struct {
	tag     string
	columns []sql.Column
	rows    [][]sql.Value
	hasRows bool
	// counted: the number of rows sent belongs to the tag.
	counted bool
	// stream sends its own messages up to, and without, CommandComplete.
	stream func(ctx context.Context, formats []int16) (tag string, err error)
}

// call is one execution: a statement, its arguments, and what the client was told it would answer.
type call struct {
	ast  sql.Statement
	desc description
	args []sql.Value
}

// errAborted is the answer to everything but COMMIT and ROLLBACK in a failed transaction.
func errAborted() error {
	return failf("25P02", "current transaction is aborted, commands ignored until end of transaction block")
}

func endsTransaction(stmt sql.Statement) bool {
	switch stmt.(type) {
	case *sql.Commit, *sql.Rollback:
		return true
	}
	return false
}

// execute runs a statement inside the session's transaction, which start has opened.
func (se *session) execute(ctx context.Context, c call) (outcome, error) {
	if tell := se.s.o.OnStatement; tell != nil {
		tell(se.info.Load().Application, c.ast.Text())
	}
	if d := se.s.faults.delayOf(c.ast.Text()); d > 0 {
		if err := se.wait(ctx, d); err != nil {
			return outcome{}, err
		}
	}
	out := outcome{tag: c.ast.Tag()}
	switch st := c.ast.(type) {
	case *sql.Select:
		rows, err := se.runSelect(ctx, st.Query, c.desc, c.args)
		return outcome{tag: "SELECT", columns: c.desc.columns, rows: rows, hasRows: true, counted: true}, err
	case *sql.Explain:
		return se.explain(st)
	case *sql.Subscribe:
		return se.runSubscribe(ctx, st)
	case *sql.Copy:
		return se.runCopy(ctx, st)
	case *sql.Insert, *sql.Update, *sql.Delete:
		n, err := se.runWrite(ctx, c.ast, c.args)
		out.tag += " " + strconv.Itoa(n)
		return out, err
	case *sql.Show:
		return se.show(st)
	case *sql.ShowObjects:
		q, err := showObjectsQuery(st)
		if err != nil {
			return out, err
		}
		rows, err := se.runSelect(ctx, q, c.desc, nil)
		return outcome{tag: "SELECT", columns: c.desc.columns, rows: rows, hasRows: true, counted: true}, err
	case *sql.Begin, *sql.Commit, *sql.Rollback, *sql.SetTransaction:
		return se.transaction(c.ast)
	case *sql.Set, *sql.Reset, *sql.Discard:
		return out, se.setting(c.ast)
	case *sql.Prepare, *sql.Deallocate:
		return out, se.prepare(c.ast)
	case *sql.Execute:
		return se.runExecute(ctx, st)
	case *sql.Declare:
		return out, se.declare(st)
	case *sql.Fetch:
		return se.fetch(ctx, st)
	case *sql.CloseCursor:
		cur := se.cursors[st.Cursor]
		if cur == nil {
			return out, failf("34000", "cursor %q does not exist", st.Cursor)
		}
		cur.close()
		delete(se.cursors, st.Cursor)
		return out, nil
	}
	return out, se.runDDL(c.ast)
}

// transaction executes BEGIN, COMMIT, ROLLBACK and SET TRANSACTION.
func (se *session) transaction(stmt sql.Statement) (outcome, error) {
	switch st := stmt.(type) {
	case *sql.Begin:
		if se.tx.status == txnExplicit {
			se.post(notice{severity: "WARNING", code: "25001", message: "there is already a transaction in progress"})
		}
		se.tx.status = txnExplicit
		se.tx.readOnly = se.tx.readOnly || st.Modes.ReadOnly
		return outcome{tag: "BEGIN"}, se.isolation(st.Modes.Isolation, true)
	case *sql.SetTransaction:
		if st.Modes.ReadOnly || st.Modes.ReadWrite {
			return outcome{}, failf(se.s.unsupported(), "SET TRANSACTION <access-mode> not yet supported")
		}
		if se.tx.kind != opsNone {
			return outcome{}, failf("25001", "SET TRANSACTION ISOLATION LEVEL must be called before any query")
		}
		return outcome{tag: "SET"}, se.isolation(st.Modes.Isolation, !st.Session)
	case *sql.Commit:
		if st.Chain {
			return outcome{}, refuse("AND CHAIN is not supported")
		}
		return se.commitStatement()
	case *sql.Rollback:
		if st.Chain {
			return outcome{}, refuse("AND CHAIN is not supported")
		}
		se.warnIdle()
		se.reportAll(se.rollback())
		return outcome{tag: "ROLLBACK"}, nil
	}
	return outcome{}, refuse("%s is not supported", stmt.Tag())
}

func (se *session) warnIdle() {
	if !se.tx.open() {
		se.post(notice{severity: "WARNING", code: "25P01", message: "there is no transaction in progress"})
	}
}

// commitStatement is COMMIT: in a failed transaction it is a ROLLBACK without an error.
func (se *session) commitStatement() (outcome, error) {
	se.warnIdle()
	if se.tx.status == txnFailed {
		se.reportAll(se.rollback())
		return outcome{tag: "ROLLBACK"}, nil
	}
	changed, err := se.commit()
	if err != nil {
		return outcome{}, err
	}
	se.reportAll(changed)
	return outcome{tag: "COMMIT"}, nil
}

// reportAll sends ParameterStatus for what changed, after the notices.
func (se *session) reportAll(changed []change) {
	se.sendNotices()
	for _, c := range changed {
		se.send(&pgproto3.ParameterStatus{Name: c.name, Value: c.text})
	}
}

func (se *session) isolation(level string, local bool) error {
	if level == "" {
		return nil
	}
	d := findVar("transaction_isolation")
	v, err := d.parse([]string{level}, false)
	if err != nil {
		return err
	}
	se.vars.set(d.name, &v, local)
	se.vars.silent[d.name] = true
	return nil
}

// unsupported is the code of features the server itself lacks.
func (s *Server) unsupported() string {
	if s.behaves().unsupportedCode {
		return "0A000"
	}
	return "XX000"
}

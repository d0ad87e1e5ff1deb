package mz

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
)

// rollbackTimeout bounds a ROLLBACK. A connection that does not answer in time is
// cut, which ends its transaction just as well.
const rollbackTimeout = 2 * time.Second

// aliveLook is how long COMMIT listens first for the end of the connection. It is
// part of what sessions wait; an end it misses makes the outcome unknown instead of
// not done, which is slower and just as safe.
const aliveLook = time.Millisecond

// Prepare opens a transaction on the DDL connection and executes the statements one
// by one, each in its own Query, so that an error names its statement. The DDL
// connection belongs to the returned value until Commit or Rollback.
//
// On PostgreSQL the SWAP of two schemas becomes three renames; other statements it
// does not have are refused with ErrUnsupported.
func (w *Warehouse) Prepare(ctx context.Context, statements []string) (deploy.Prepared, error) {
	if len(statements) == 0 {
		return nil, errors.New("a DDL transaction without statements")
	}
	statements, err := w.translate(statements)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.cfg.DDLTimeout)
	defer cancel()
	conn, err := w.liveDDL(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.identify(ctx, conn); err != nil {
		w.ddl.release()
		return nil, err
	}
	w.inTransaction.Store(true)
	p := &prepared{w: w, conn: conn, backend: deploy.Backend{Number: conn.pg.PID(), Session: conn.session}}
	for _, statement := range append([]string{"BEGIN"}, statements...) {
		if err := p.execute(ctx, statement); err != nil {
			p.abandon()
			return nil, err
		}
	}
	return p, nil
}

// identify asks once per connection what tells its session from a later one with the
// same number. A server that does not show the session leaves that unknown.
func (w *Warehouse) identify(ctx context.Context, conn *connection) error {
	if conn.session != "" {
		return nil
	}
	rows, err := conn.query(ctx, w.dialect.text("backend"), strconv.FormatUint(uint64(conn.pg.PID()), 10))
	if err != nil && answered(err) == nil {
		return w.unavailable(ctx, fmt.Errorf("asking which session the ddl connection is: %w", err))
	}
	if len(rows) == 1 && rows[0].yes(0) {
		conn.session = rows[0].text(1)
	}
	return nil
}

// prepared is an open DDL transaction. It owns the DDL connection until end.
type prepared struct {
	w       *Warehouse
	conn    *connection
	backend deploy.Backend
	ended   bool
}

// execute runs one statement inside the transaction.
func (p *prepared) execute(ctx context.Context, statement string) error {
	_, err := p.conn.exec(ctx, statement)
	p.w.noteReadOnly(err)
	if err != nil {
		return p.w.failed(ctx, statement, err)
	}
	if status := p.conn.pg.TxStatus(); status != 'T' {
		return fmt.Errorf("%s: the server says transaction status %q where it must be T: something between us and the server ends transactions", statement, status)
	}
	return nil
}

// Backend is the transaction's session on the server.
func (p *prepared) Backend() deploy.Backend { return p.backend }

// Commit sends COMMIT and says what is proven about it:
//
//	what came                                            outcome
//	tag COMMIT, no error, ReadyForQuery I                 Done
//	tag ROLLBACK (the transaction had failed)             NotDone
//	an error, then ReadyForQuery (40001: ErrConflict)     NotDone
//	the connection was found dead before, or did not
//	take the whole message                                NotDone
//	an error that may come after the act (FATAL, class
//	57 or 08), a cut, silence to the deadline, or a
//	combination that makes no sense                       Unknown
//
// After Unknown the connection is cut, so that its session ends on the server. After
// NotDone nothing is cleaned up that takes time: sessions wait for the outcome, and
// Rollback does it.
func (p *prepared) Commit(ctx context.Context) (deploy.Outcome, error) {
	if p.ended {
		return deploy.NotDone, errors.New("COMMIT: the transaction has been ended before")
	}
	ctx, cancel := context.WithTimeout(ctx, p.w.cfg.DDLTimeout)
	defer cancel()
	if err := p.alive(ctx); err != nil {
		p.settle()
		return deploy.NotDone, p.w.unavailable(ctx, fmt.Errorf("before COMMIT was sent: %w", err))
	}
	before := p.conn.written.Load()
	tag, err := p.conn.exec(ctx, "COMMIT")
	sent := p.conn.written.Load() > before
	outcome, err := p.judge(ctx, tag, err, sent)
	p.w.log.Info("COMMIT", "outcome", outcome, "backend", p.backend, "error", err)
	switch outcome {
	case deploy.Unknown:
		p.end(true)
	case deploy.NotDone:
		p.settle()
	default:
		p.end(false)
	}
	return outcome, err
}

// settle gives the connection back if nothing has to be asked for that.
func (p *prepared) settle() {
	if !p.ended && (p.conn.pg.IsClosed() || p.conn.pg.TxStatus() == 'I') {
		p.end(p.conn.pg.IsClosed())
	}
}

// alive looks whether the connection is still there without sending anything: what
// is found dead now was certainly not asked to commit.
func (p *prepared) alive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.conn.pg.IsClosed() {
		return pgconn.ErrConnClosed
	}
	look, cancel := context.WithTimeout(ctx, p.w.aliveLook)
	defer cancel()
	if _, err := p.conn.pg.ReceiveMessage(look); err != nil && !pgconn.Timeout(err) {
		return err
	}
	return nil
}

// judge maps what came back to an outcome.
func (p *prepared) judge(ctx context.Context, tag string, err error, sent bool) (deploy.Outcome, error) {
	status := p.conn.pg.TxStatus()
	pgErr, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil && tag == "COMMIT" && status == 'I' && p.conn.notices.find(codeNoTxn) != nil:
		return deploy.Unknown, errors.New("COMMIT: the server says that there was no transaction in progress")
	case err == nil && tag == "COMMIT" && status == 'I':
		return deploy.Done, nil
	case err == nil && tag == "ROLLBACK":
		return deploy.NotDone, errors.New("COMMIT: the server rolled back, because the transaction had failed before")
	case err == nil:
		return deploy.Unknown, fmt.Errorf("COMMIT: the server answered %q with transaction status %q", tag, status)
	case !sent:
		return deploy.NotDone, p.w.unavailable(ctx, fmt.Errorf("COMMIT could not be sent: %w", err))
	case refused && tag == "" && !afterTheAct(pgErr) && !p.conn.pg.IsClosed():
		return deploy.NotDone, p.w.failed(ctx, "COMMIT", err)
	case refused:
		return deploy.Unknown, fmt.Errorf("COMMIT: tag %q, then: %w", tag, &refusal{pgErr})
	}
	return deploy.Unknown, p.w.unavailable(ctx, fmt.Errorf("COMMIT was sent, tag seen %q, then: %w", tag, err))
}

// afterTheAct says that an error may have come although the transaction is
// committed: the session was ended or canceled at an unknown point.
func afterTheAct(e *pgconn.PgError) bool {
	return fatal(e) || strings.HasPrefix(e.Code, "57") || strings.HasPrefix(e.Code, "08")
}

// Rollback ends the transaction without effect. A connection that does not answer
// is cut; since COMMIT was never sent, nothing of the transaction can survive it, so
// there is no error to act upon.
func (p *prepared) Rollback(context.Context) error {
	p.abandon()
	return nil
}

// abandon rolls back, or cuts the connection, and gives it back.
func (p *prepared) abandon() {
	if p.settle(); p.ended {
		return
	}
	// Not the caller's context: it may be over, and this must happen anyway.
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_, err := p.conn.exec(ctx, "ROLLBACK")
	if err != nil {
		p.w.log.Warn("ROLLBACK was not answered, cutting the connection", "backend", p.backend, "error", err)
	}
	p.end(err != nil || p.conn.pg.TxStatus() != 'I')
}

// end gives the DDL connection back; cut says that it is not to be used again.
func (p *prepared) end(cut bool) {
	p.ended = true
	if cut {
		p.w.ddl.drop()
	}
	p.w.inTransaction.Store(false)
	p.w.ddl.release()
}

package mz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
)

// SQLSTATEs that decide something here.
const (
	codeConflict   = "40001" // a catalog change of somebody else came between
	codeReadOnly   = "25006" // the server takes no writes yet
	codeForbidden  = "42501" // a privilege is missing
	codeNoTxn      = "25P01" // COMMIT without a transaction (a warning)
	codeCanceled   = "57014"
	codeSyntax     = "42601"
	codeNotYet     = "0A000"
	codeBadSetting = "42704"
	codeNotGiven   = "01007" // a warning: PostgreSQL's answer to a GRANT by somebody who may not give it
	codeNotTaken   = "01006" // a warning: the same of a REVOKE
)

// notices are what the server said besides its answer.
type notices []*pgconn.Notice

// find gives the first one with one of the codes, nil if there is none.
func (l notices) find(codes ...string) *pgconn.Notice {
	for _, n := range l {
		if slices.Contains(codes, n.Code) {
			return n
		}
	}
	return nil
}

// answered returns the server's refusal if err is one that leaves the session
// alive, and nil if the server could not be asked.
func answered(err error) *pgconn.PgError {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || fatal(pgErr) {
		return nil
	}
	return pgErr
}

func fatal(e *pgconn.PgError) bool {
	return strings.EqualFold(e.Severity, "FATAL") || strings.EqualFold(e.Severity, "PANIC")
}

// failed explains the error of a statement: a refusal stays as it is (a conflict is
// marked), everything else means that nothing is known.
func (w *Warehouse) failed(ctx context.Context, what string, err error) error {
	pgErr := answered(err)
	if pgErr == nil {
		return w.unavailable(ctx, fmt.Errorf("%s: %w", what, err))
	}
	text := &refusal{PgError: pgErr}
	if pgErr.Code == codeConflict || w.dialect.postgres() && lostRace(pgErr) {
		return fmt.Errorf("%w: %s: %w", deploy.ErrConflict, what, text)
	}
	err = fmt.Errorf("%s: %w", what, text)
	if w.dialect.readOnly(pgErr) {
		return fmt.Errorf("%w: %w", deploy.ErrReadOnly, err)
	}
	if how := w.rightMissing(pgErr); how != "" {
		return &deploy.Mendable{Err: err, Mend: how}
	}
	return err
}

// readOnly tells a server that takes no changes from a transaction that may make none:
// both are 25006 on Materialize.
func (d dialect) readOnly(e *pgconn.PgError) bool {
	return e.Code == codeReadOnly && (d.postgres() || strings.Contains(e.Message, "read-only mode") && e.Detail == "")
}

// lostRace says that PostgreSQL gave up on DDL because somebody else was changing the
// same rows of the catalog: a deadlock, or its bare internal error for it.
func lostRace(e *pgconn.PgError) bool {
	return e.Code == "40P01" || e.Code == "XX000" && strings.HasPrefix(e.Message, "tuple concurrently ")
}

// refusal prints a server's error with its detail and hint, which Materialize uses
// to say which privilege is missing.
type refusal struct{ *pgconn.PgError }

func (r *refusal) Error() string {
	text := r.Message
	if r.Detail != "" {
		text += " (" + r.Detail + ")"
	}
	if r.Hint != "" {
		text += " [" + r.Hint + "]"
	}
	return text + " (SQLSTATE " + r.Code + ")"
}

func (r *refusal) Unwrap() error { return r.PgError }

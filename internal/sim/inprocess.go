package sim

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim/sql"
)

// errorsOnly is a sender for statements nobody waits for: it keeps the first error.
type errorsOnly struct{ err error }

func (e *errorsOnly) Send(m pgproto3.BackendMessage) {
	if m, ok := m.(*pgproto3.ErrorResponse); ok && e.err == nil {
		e.err = &sql.Error{Code: m.Code, Message: m.Message, Detail: m.Detail, Hint: m.Hint, Position: int(m.Position)}
	}
}

func (e *errorsOnly) Flush() error { return nil }

// execAs runs statements without a connection. BEGIN and COMMIT among them work: they share one session.
func (s *Server) execAs(ctx context.Context, user, text string) error {
	stmts, err := sql.Parse(text)
	if err != nil {
		return fmt.Errorf("parse the statements: %w", err)
	}
	out := &errorsOnly{}
	se := newSession(s, user)
	se.out = out
	if err := se.adopt(); err != nil {
		return err
	}
	s.join(se)
	defer se.leave()
	for _, st := range stmts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := se.query(ctx, st.Text()); err != nil {
			return err
		}
		if out.err != nil {
			return fmt.Errorf("%s: %w", st.Text(), out.err)
		}
	}
	return nil
}

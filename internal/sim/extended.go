package sim

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim/sql"
)

// A portal is a bound statement, and as a cursor a declared one. Before its first execution it is only a name for its
// query; from then on it holds the rows that are left.
type portal struct {
	stmt    *statement
	args    []sql.Value
	formats []int16
	started bool
	done    bool
	out     outcome
	sub     *subscription // of a cursor over SUBSCRIBE
}

// close lets go of what a portal holds outside the session.
func (p *portal) close() {
	if p.sub != nil {
		p.sub.close()
		p.sub = nil
	}
}

// endPortals is what the end of a transaction does: portals and cursors die with it.
func (se *session) endPortals() {
	clear(se.portals)
	se.closeCursors()
}

func (se *session) closeCursors() {
	for name, c := range se.cursors {
		c.close()
		delete(se.cursors, name)
	}
}

// eagerCommit commits the implicit transaction of an Execute before the next message that is none. Writes may stay
// open until Sync on newer servers.
func (se *session) eagerCommit() error {
	if se.tx.kind == opsWrites && se.s.behaves().writesSpanPipeline {
		return nil
	}
	se.executed = false
	if se.tx.status != txnStarted {
		return nil
	}
	changed, err := se.commit()
	if err != nil {
		return se.extendedError(err)
	}
	se.announceEnd(changed)
	return nil
}

// sync ends a batch.
func (se *session) sync() error {
	se.draining, se.executed = false, false
	if se.tx.status == txnStarted || se.tx.status == txnImplicit {
		changed, err := se.commit()
		if errors.Is(err, errGone) {
			return err
		}
		if err != nil {
			se.sendError("ERROR", err)
		}
		se.announceEnd(changed)
	}
	return se.ready()
}

// extendedError is an error in a batch: sent at once, then everything up to Sync is discarded.
func (se *session) extendedError(err error) error {
	if err == nil || errors.Is(err, errGone) {
		return err
	}
	se.draining, se.executed = true, false
	se.sendError("ERROR", err)
	se.announceEnd(se.fail())
	return se.flush()
}

// extended answers one message of the extended protocol.
func (se *session) extended(ctx context.Context, msg pgproto3.FrontendMessage) error {
	if _, isClose := msg.(*pgproto3.Close); !isClose {
		se.start(1)
	}
	switch m := msg.(type) {
	case *pgproto3.Parse:
		return se.parse(m)
	case *pgproto3.Bind:
		return se.bind(m)
	case *pgproto3.Describe:
		return se.describeMessage(m)
	case *pgproto3.Execute:
		return se.executePortal(ctx, m)
	case *pgproto3.Close:
		if m.ObjectType == 'S' {
			delete(se.prepared, m.Name)
		} else {
			delete(se.portals, m.Name)
		}
		se.send(&pgproto3.CloseComplete{})
	}
	return nil
}

func (se *session) parse(m *pgproto3.Parse) error {
	if err := se.checkText(m.Query); err != nil {
		return err
	}
	stmts, err := se.s.parsed.parse(m.Query)
	if err != nil {
		return err
	}
	if len(stmts) > 1 {
		return failf("XX000", "cannot insert multiple commands into a prepared statement")
	}
	// A name that is taken is replaced without a word, named or not (PostgreSQL refuses a named one).
	st := &statement{params: m.ParameterOIDs}
	if len(stmts) == 1 {
		st.ast = stmts[0]
		if se.tx.status == txnFailed && !endsTransaction(st.ast) {
			return errAborted()
		}
		if st.desc, err = se.describe(st.ast, st.params); err != nil {
			return err
		}
	}
	se.prepared[m.Name] = st
	se.send(&pgproto3.ParseComplete{})
	return nil
}

func (se *session) bind(m *pgproto3.Bind) error {
	st := se.prepared[m.PreparedStatement]
	if st == nil {
		return failf("26000", "prepared statement %q does not exist", m.PreparedStatement)
	}
	if se.tx.status == txnFailed && st.ast != nil && !endsTransaction(st.ast) {
		return errAborted()
	}
	if err := se.verify(st); err != nil {
		return err
	}
	if len(m.Parameters) != len(st.desc.params) {
		return failf("08P01", "bind message supplies %d parameters, but prepared statement %q requires %d",
			len(m.Parameters), m.PreparedStatement, len(st.desc.params))
	}
	if n := len(m.ParameterFormatCodes); n > 1 && n != len(m.Parameters) {
		return failf("08P01", "expected %d field format specifiers, but got %d", len(m.Parameters), n)
	}
	if n := len(m.ResultFormatCodes); n > 1 && n != len(st.desc.columns) {
		return failf("08P01", "expected %d field format specifiers, but got %d", len(st.desc.columns), n)
	}
	if m.DestinationPortal != "" && se.portals[m.DestinationPortal] != nil {
		return failf("42P03", "cursor %q already exists", m.DestinationPortal)
	}
	p := &portal{stmt: st, formats: m.ResultFormatCodes, args: make([]sql.Value, len(m.Parameters))}
	for i, raw := range m.Parameters {
		if raw == nil {
			continue
		}
		decode := sql.DecodeText
		if formatOf(m.ParameterFormatCodes, i) == 1 {
			decode = sql.DecodeBinary
		}
		v, err := decode(raw, st.desc.params[i])
		if err != nil {
			return err
		}
		p.args[i] = v
	}
	se.portals[m.DestinationPortal] = p
	se.send(&pgproto3.BindComplete{})
	return nil
}

func (se *session) describeMessage(m *pgproto3.Describe) error {
	st, formats := (*statement)(nil), []int16(nil)
	if m.ObjectType == 'S' {
		if st = se.prepared[m.Name]; st == nil {
			return failf("26000", "prepared statement %q does not exist", m.Name)
		}
	} else {
		p := se.portals[m.Name]
		if p == nil {
			p = se.cursors[m.Name] // a cursor of DECLARE is a portal too
		}
		if p == nil {
			return failf("34000", "portal %q does not exist", m.Name)
		}
		st, formats = p.stmt, p.formats
	}
	if se.tx.status == txnFailed && st.ast != nil && !endsTransaction(st.ast) {
		return errAborted()
	}
	if err := se.verify(st); err != nil {
		return err
	}
	if m.ObjectType == 'S' {
		se.send(&pgproto3.ParameterDescription{ParameterOIDs: st.desc.params})
	}
	if st.desc.rows && !st.desc.copy {
		se.send(rowDescription(st.desc.columns, formats))
	} else {
		se.send(&pgproto3.NoData{})
	}
	return nil
}

func (se *session) executePortal(ctx context.Context, m *pgproto3.Execute) error {
	p := se.portals[m.Portal]
	if p == nil {
		return failf("34000", "portal %q does not exist", m.Portal)
	}
	se.replies++
	if p.stmt.ast == nil {
		se.executed = true
		se.send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	if se.tx.status == txnFailed && !endsTransaction(p.stmt.ast) {
		return errAborted()
	}
	if p.done {
		return failf("55000", "portal %q cannot be run", m.Portal)
	}
	ctx, done := se.begin(ctx)
	defer done()
	if !p.started {
		if err := se.verify(p.stmt); err != nil {
			return err
		}
		out, err := se.execute(ctx, call{ast: p.stmt.ast, desc: p.stmt.desc, args: p.args})
		if err != nil {
			return err
		}
		p.out, p.started = out, true
	}
	se.executed = true
	return se.sendPortal(ctx, p, int(m.MaxRows))
}

// sendPortal sends up to limit rows of a started portal (zero: all) and how it goes on.
func (se *session) sendPortal(ctx context.Context, p *portal, limit int) error {
	se.sendNotices()
	tag := p.out.tag
	switch {
	case p.out.stream != nil:
		if limit > 0 && p.stmt.desc.rows && !p.stmt.desc.copy {
			return refuse("Execute with a row limit of a stream is not supported; use a cursor")
		}
		var err error
		if tag, err = p.out.stream(ctx, p.formats); err != nil {
			return err
		}
	case p.out.hasRows:
		n := len(p.out.rows)
		suspended := limit > 0 && n >= limit
		if suspended {
			n = limit
		}
		if err := se.sendRows(p.out.rows[:n], p.out.columns, p.formats); err != nil {
			return err
		}
		p.out.rows = p.out.rows[n:]
		if suspended {
			se.send(&pgproto3.PortalSuspended{})
			return nil
		}
		tag = p.out.finish(n)
	}
	p.done = true
	se.sendNotices()
	se.send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
	return nil
}

package sim

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"

	"mzcanary/internal/sim/sql"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// declare names a query; what its names mean is found out at the first FETCH.
func (se *session) declare(st *sql.Declare) error {
	if se.tx.status != txnExplicit {
		return failf("25P01", "DECLARE CURSOR can only be used in transaction blocks")
	}
	if se.cursors[st.Cursor] != nil {
		return failf("42P03", "cursor %q already exists", st.Cursor)
	}
	desc, err := se.describe(st.Statement, nil)
	if err != nil {
		return err
	}
	se.cursors[st.Cursor] = &portal{stmt: &statement{ast: st.Statement, desc: desc}}
	return nil
}

// fetch reads from a cursor. The first one starts its query; over a SUBSCRIBE it waits until there is a row, or for
// the timeout it was given.
func (se *session) fetch(ctx context.Context, st *sql.Fetch) (outcome, error) {
	cur := se.cursors[st.Cursor]
	if cur == nil {
		return outcome{}, failf("34000", "cursor %q does not exist", st.Cursor)
	}
	limit := st.Count
	if st.All {
		limit = 1 << 30
	}
	if !cur.started {
		if err := se.startCursor(ctx, cur); err != nil {
			return outcome{}, err
		}
	}
	if cur.sub != nil {
		if err := se.fetchSubscribe(ctx, st, cur, limit); err != nil {
			return outcome{}, err
		}
	}
	n := min(limit, len(cur.out.rows))
	rows := cur.out.rows[:n]
	cur.out.rows = cur.out.rows[n:]
	return outcome{tag: "FETCH " + strconv.Itoa(n), columns: cur.stmt.desc.columns, rows: rows, hasRows: true}, nil
}

func (se *session) startCursor(ctx context.Context, cur *portal) error {
	if err := se.verify(cur.stmt); err != nil {
		return err
	}
	if st, ok := cur.stmt.ast.(*sql.Subscribe); ok {
		sub, err := se.newSubscription(ctx, st)
		if err != nil {
			return err
		}
		cur.sub, cur.started = sub, true
		return nil
	}
	out, err := se.execute(ctx, call{ast: cur.stmt.ast, desc: cur.stmt.desc})
	if err != nil {
		return err
	}
	if !out.hasRows {
		return refuse("a cursor over %s is not supported", cur.stmt.ast.Tag())
	}
	cur.out, cur.started = out, true
	return nil
}

// fetchSubscribe moves rows of the subscription into the cursor until there are enough or no more.
func (se *session) fetchSubscribe(ctx context.Context, st *sql.Fetch, cur *portal, limit int) error {
	sub := cur.sub
	take := func() {
		cur.out.rows = append(cur.out.rows, sub.pending...)
		sub.pending = nil
	}
	sub.noteEnd()
	if _, err := sub.advance(ctx); err != nil {
		return err
	}
	take()
	if len(cur.out.rows) > 0 || limit == 0 {
		return nil
	}
	if st.Timeout != "" {
		d, err := parseTimeout(st.Timeout)
		if err != nil {
			return failf("22007", "invalid input syntax for type interval: %s", st.Timeout)
		}
		if d > 0 {
			limited, stop := context.WithTimeout(ctx, d)
			defer stop()
			err := sub.next(limited)
			if limited.Err() != nil && ctx.Err() == nil {
				return nil
			}
			take()
			return err
		}
	}
	err := sub.next(ctx)
	take()
	return err
}

// runExecute is the SQL form of executing what PREPARE made.
func (se *session) runExecute(ctx context.Context, st *sql.Execute) (outcome, error) {
	p := se.prepared[st.Name]
	if p == nil {
		return outcome{}, failf("26000", "prepared statement %q does not exist", st.Name)
	}
	if p.ast == nil {
		return outcome{}, refuse("EXECUTE of an empty statement is not supported")
	}
	if err := se.verify(p); err != nil {
		return outcome{}, err
	}
	r := se.reader(se.catalog(), nil, se.s.latest(), se.s.now())
	args, err := sql.EvalArgs(ctx, r, st.Args, p.desc.params)
	if err != nil {
		return outcome{}, err
	}
	if len(args) != len(p.desc.params) {
		return outcome{}, failf("XX000", "wrong number of parameters for prepared statement %q", st.Name)
	}
	return se.execute(ctx, call{ast: p.ast, desc: p.desc, args: args})
}

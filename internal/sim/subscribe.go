package sim

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim/sql"
)

// subscribePlan is what a SUBSCRIBE will send.
type subscribePlan struct {
	p       *planned
	columns []sql.Column // with mz_timestamp and mz_diff in front
	data    []sql.Column
}

func (se *session) subscribePlan(st *sql.Subscribe) (*subscribePlan, error) {
	if st.AsOf != nil || st.UpTo != nil || st.Progress {
		return nil, refuse("SUBSCRIBE with AS OF, UP TO or PROGRESS is not supported")
	}
	q := st.Query
	if q == nil {
		var err error
		if q, err = sql.ParseQuery("SELECT * FROM " + st.Relation.String()); err != nil {
			return nil, err
		}
	}
	c := se.catalog()
	p, err := c.plan(q, se.scope(), nil, se)
	if err != nil {
		return nil, err
	}
	if p.constant {
		return nil, refuse("SUBSCRIBE to a constant query is not supported")
	}
	for id := range p.reads {
		if c.objects[id].sys != nil {
			return nil, refuse("SUBSCRIBE to system relations is not supported")
		}
	}
	columns := []sql.Column{
		{Name: "mz_timestamp", Type: sql.NumericT, TypeMod: mzTimestampMod},
		{Name: "mz_diff", Type: sql.Int8, TypeMod: -1},
	}
	return &subscribePlan{p: p, columns: append(columns, p.plan.Columns...), data: p.plan.Columns}, nil
}

// mzTimestampMod is the modifier of numeric(39,0), the type a timestamp is sent as.
const mzTimestampMod = 39<<16 + 4

// A subscription follows a query through the versions of the data. It keeps the catalog it was planned with, so that
// renames do not touch it; only a drop of what it reads, or of its cluster, ends it.
type subscription struct {
	se      *session
	plan    *subscribePlan
	cat     *catalog
	live    *liveRead
	at      *dataVersion   // the version last looked at
	last    map[string]int // multiset of encoded rows at that version
	values  map[string][]sql.Value
	pending [][]sql.Value // rows found and not yet handed out
	err     error
}

// newSubscription registers the subscription and reads the snapshot.
func (se *session) newSubscription(ctx context.Context, st *sql.Subscribe) (*subscription, error) {
	plan, err := se.subscribePlan(st)
	if err != nil {
		return nil, err
	}
	if err := se.tx.admit(opsSubscribe, false); err != nil {
		return nil, err
	}
	c := se.catalog()
	cl, err := se.place(c, plan.p)
	if err != nil {
		return nil, err
	}
	l := &liveRead{session: se, subscribe: true, cluster: cl.id, ids: plan.p.ids}
	se.s.register(l)
	sub := &subscription{se: se, plan: plan, cat: c, live: l, last: map[string]int{}, values: map[string][]sql.Value{}}
	if err := se.s.stillThere(l); err != nil {
		sub.close()
		return nil, err
	}
	if _, err := se.awaitRead(ctx, c, plan.p, cl); err != nil {
		sub.close()
		return nil, err
	}
	sub.at = se.s.latest()
	if err := sub.diff(ctx); err != nil {
		sub.close()
		return nil, err
	}
	if st.NoSnapshot {
		sub.pending = nil
	}
	return sub, nil
}

func (sub *subscription) close() { sub.se.s.unregister(sub.live) }

// diff compares the query at the current version with what was sent and queues the difference: what went before what
// came.
func (sub *subscription) diff(ctx context.Context) error {
	rows, err := sub.se.reader(sub.cat, sub.plan.p.names, sub.at, sub.se.s.now()).evaluate(ctx, sub.plan.p.plan, nil)
	if err != nil {
		return err
	}
	now := make(map[string]int, len(rows))
	values := make(map[string][]sql.Value, len(rows))
	var order []string
	for _, row := range rows {
		key := rowKey(row, sub.plan.data)
		if now[key] == 0 {
			order = append(order, key)
		}
		now[key]++
		values[key] = row
	}
	ts := sql.NumericFromInt(int64(sub.at.ts))
	emit := func(n int, row []sql.Value) {
		sub.pending = append(sub.pending, append([]sql.Value{ts, int64(n)}, row...))
	}
	for _, key := range sortedKeys(sub.last) {
		if n := now[key] - sub.last[key]; n < 0 {
			emit(n, sub.values[key])
		}
	}
	for _, key := range order {
		if n := now[key] - sub.last[key]; n > 0 {
			emit(n, values[key])
		}
	}
	sub.last, sub.values = now, values
	return nil
}

// rowKey makes rows comparable.
func rowKey(row []sql.Value, columns []sql.Column) string {
	var b strings.Builder
	for i, v := range row {
		if v == nil {
			b.WriteString("n;")
			continue
		}
		text := sql.EncodeText(v, columns[i].Type)
		fmt.Fprintf(&b, "%d:%s;", len(text), text)
	}
	return b.String()
}

// advance moves over the versions there are and queues what they changed; false when there was none. After a drop it
// stops at the version of that moment.
func (sub *subscription) advance(ctx context.Context) (moved bool, err error) {
	for {
		select {
		case <-sub.at.moved:
		default:
			return moved, nil
		}
		if sub.err != nil && sub.live.at != nil && sub.at.ts >= sub.live.at.ts {
			return moved, nil
		}
		sub.at, moved = sub.at.next, true
		if err := sub.diff(ctx); err != nil {
			return moved, err
		}
	}
}

// next waits until rows are pending. Its error is the end of the subscription.
func (sub *subscription) next(ctx context.Context) error {
	for {
		sub.noteEnd()
		if _, err := sub.advance(ctx); err != nil {
			return err
		}
		switch {
		case len(sub.pending) > 0:
			return nil
		case sub.err != nil:
			return sub.err
		}
		select {
		case <-sub.at.moved:
		case err := <-sub.live.ended:
			sub.err = err
		case <-ctx.Done():
			return ended(ctx)
		}
	}
}

// noteEnd looks whether a drop has ended the subscription.
func (sub *subscription) noteEnd() {
	select {
	case err := <-sub.live.ended:
		sub.err = err
	default:
	}
}

// runSubscribe is a SUBSCRIBE sent directly.
func (se *session) runSubscribe(ctx context.Context, st *sql.Subscribe) (outcome, error) {
	sub, err := se.newSubscription(ctx, st)
	if err != nil {
		return outcome{}, err
	}
	return outcome{tag: "SUBSCRIBE", stream: func(ctx context.Context, formats []int16) (string, error) {
		defer sub.close()
		se.post(notice{severity: "NOTICE", code: "01000", message: "streaming SUBSCRIBE rows directly requires a client that does not buffer output"})
		se.sendNotices()
		return "", se.stream(ctx, sub, func(row []sql.Value) error {
			values, err := encodeRow(nil, row, sub.plan.columns, formats)
			if err != nil {
				return err
			}
			se.send(&pgproto3.DataRow{Values: values})
			return nil
		})
	}}, nil
}

// copySubscribe is COPY (SUBSCRIBE …) TO STDOUT.
func (se *session) copySubscribe(ctx context.Context, st *sql.Copy) (outcome, error) {
	sub, err := se.newSubscription(ctx, st.Subscribe)
	if err != nil {
		return outcome{}, err
	}
	return outcome{tag: "COPY", stream: func(ctx context.Context, _ []int16) (string, error) {
		defer sub.close()
		se.copyOut(len(sub.plan.columns))
		return "", se.stream(ctx, sub, func(row []sql.Value) error {
			se.send(&pgproto3.CopyData{Data: sql.EncodeCopyRow(st, row, sub.plan.columns)})
			return nil
		})
	}}, nil
}

// stream hands out rows as they come until the subscription ends; it never ends without an error.
func (se *session) stream(ctx context.Context, sub *subscription, send func([]sql.Value) error) error {
	for {
		for _, row := range sub.pending {
			if err := send(row); err != nil {
				return err
			}
		}
		sub.pending = nil
		se.sendNotices()
		if err := se.flush(); err != nil {
			return err
		}
		if err := sub.next(ctx); err != nil {
			return err
		}
	}
}

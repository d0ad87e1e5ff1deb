package sim

import (
	"context"

	"mzcanary/internal/sim/sql"
)

// writePlan is an INSERT, UPDATE or DELETE planned against the session's catalog.
type writePlan struct {
	plan  *sql.WritePlan
	table *object
	names names
	ids   []string
	// constant: the rows to insert come from no relation.
	constant bool
	need     privilege
}

func (se *session) writePlan(stmt sql.Statement, params []uint32) (*writePlan, error) {
	c := se.catalog()
	w := &writePlan{}
	r := planner(c, se.scope(), se)
	var err error
	switch st := stmt.(type) {
	case *sql.Insert:
		w.need, w.constant = privInsert, st.Query == nil || st.Query.Constant()
		if w.table, err = se.table(c, st.Table); err == nil {
			w.plan, err = st.Plan(r, &sql.Relation{Columns: w.table.columns}, params)
		}
	case *sql.Update:
		w.need = privSelect | privUpdate
		if w.table, err = se.table(c, st.Table); err == nil {
			w.plan, err = st.Plan(r, &sql.Relation{Columns: w.table.columns}, params)
		}
	case *sql.Delete:
		w.need = privSelect | privDelete
		if w.table, err = se.table(c, st.Table); err == nil {
			w.plan, err = st.Plan(r, &sql.Relation{Columns: w.table.columns}, params)
		}
	}
	w.names, w.ids = r.names, r.ids
	return w, err
}

// table finds what can be written.
func (se *session) table(c *catalog, name sql.Name) (*object, error) {
	o, err := c.lookup(se.scope(), name)
	switch {
	case err != nil:
		return nil, err
	case o.sys != nil:
		return nil, failf("XX000", "cannot mutate system table '%s'", c.fullName(o))
	case o.kind != kindTable:
		return nil, failf("XX000", "cannot mutate non-table item '%s'", c.fullName(o))
	}
	return o, nil
}

// mayWrite checks the rights of a write.
func (se *session) mayWrite(c *catalog, o *object, p privilege) error {
	if s := c.schemas[o.schema]; s.tempConn == 0 {
		if err := c.check(se.role, s.acl, privUsage, "SCHEMA", c.schemaName(s)); err != nil {
			return err
		}
	}
	return c.check(se.role, o.acl, p, "TABLE", c.fullName(o))
}

// runWrite executes a write and gives the number of rows. Constant rows are staged for the commit; what reads first
// executes at once, alone.
func (se *session) runWrite(ctx context.Context, stmt sql.Statement, args []sql.Value) (int, error) {
	w, err := se.writePlan(stmt, nil)
	if err != nil {
		return 0, err
	}
	c := se.catalog()
	if err := se.mayWrite(c, w.table, w.need); err != nil {
		return 0, err
	}
	if err := c.mayRead(se.role, w.ids); err != nil {
		return 0, err
	}
	if err := se.s.faults.writable(); err != nil {
		return 0, err
	}
	if w.constant {
		return se.stageInsert(ctx, c, w, args)
	}
	switch se.tx.status {
	case txnImplicit:
		return 0, failf("25001", "%s cannot be run inside a transaction block", stmt.String())
	case txnExplicit:
		if err := se.tx.admit(opsSingle, false); err != nil {
			return 0, err
		}
		return 0, refuse("a write that reads inside BEGIN is not supported")
	}
	return se.readThenWrite(ctx, c, w, args)
}

func (se *session) stageInsert(ctx context.Context, c *catalog, w *writePlan, args []sql.Value) (int, error) {
	if err := se.tx.admit(opsWrites, false); err != nil {
		return 0, err
	}
	r := se.reader(c, w.names, se.s.latest(), se.s.now())
	changes, err := w.plan.Eval(ctx, r, nil, args)
	if err != nil {
		return 0, err
	}
	se.tx.writes = append(se.tx.writes, stagedWrite{w.table.id, changes.Insert})
	return len(changes.Insert), nil
}

// readThenWrite computes the change against the newest contents while other writers wait, so that it is atomic.
func (se *session) readThenWrite(ctx context.Context, c *catalog, w *writePlan, args []sql.Value) (int, error) {
	n := 0
	_, err := se.s.changeData(func(tables map[string]*tableData) error {
		if se.s.catalog.Load().objects[w.table.id] == nil {
			return failf("XX000", "unknown catalog item '%s'", w.table.id)
		}
		data := se.s.latest()
		rows := data.rows(w.table.id)
		r := se.reader(c, w.names, data, se.s.now())
		changes, err := w.plan.Eval(ctx, r, rows, args)
		if err != nil {
			return err
		}
		tables[w.table.id] = &tableData{rows: applyChanges(rows, changes)}
		n = len(changes.Insert) + len(changes.Update) + len(changes.Delete)
		return nil
	})
	return n, err
}

func applyChanges(rows [][]sql.Value, ch sql.Changes) [][]sql.Value {
	gone := map[int]bool{}
	for _, i := range ch.Delete {
		gone[i] = true
	}
	out := make([][]sql.Value, 0, len(rows)+len(ch.Insert))
	for i, row := range rows {
		if gone[i] {
			continue
		}
		if changed, ok := ch.Update[i]; ok {
			row = changed
		}
		out = append(out, row)
	}
	return append(out, ch.Insert...)
}

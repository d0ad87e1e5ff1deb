package sim

import (
	"slices"
	"sync"

	"mzcanary/internal/sim/sql"
)

// statement is a prepared statement: its syntax tree, never a plan, and the description given to the client. What its
// names mean is found out again at every use.
type statement struct {
	ast    sql.Statement // nil: the empty query
	params []uint32      // types the client gave at Parse
	desc   description
}

// description is what a client is told about a statement; a prepared one must not change it.
type description struct {
	params  []uint32
	columns []sql.Column
	rows    bool // it answers with rows; columns may still be none
	copy    bool
}

func (d description) equal(o description) bool {
	if d.rows != o.rows || d.copy != o.copy || !slices.Equal(d.params, o.params) || len(d.columns) != len(o.columns) {
		return false
	}
	for i, c := range d.columns {
		x := o.columns[i]
		if c.Name != x.Name || c.Type.OID != x.Type.OID || c.Type.Name != x.Type.Name || c.TypeMod != x.TypeMod || c.Nullable != x.Nullable {
			return false
		}
	}
	return true
}

var errPlanChanged = &sql.Error{Code: "0A000", Message: "cached plan must not change result type"}

// The parse cache holds at most maxParsed texts and starts anew beyond it; texts longer than maxCached are not kept.
const (
	maxParsed = 8192
	maxCached = 8 << 10
)

// parseCache remembers the syntax trees of texts; they are never changed, so sessions share them.
type parseCache struct {
	mu    sync.Mutex
	texts map[string][]sql.Statement
}

func (p *parseCache) parse(text string) ([]sql.Statement, error) {
	p.mu.Lock()
	stmts, ok := p.texts[text]
	p.mu.Unlock()
	if ok {
		return stmts, nil
	}
	stmts, err := sql.Parse(text)
	if err != nil || len(text) > maxCached {
		return stmts, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.texts == nil || len(p.texts) >= maxParsed {
		p.texts = map[string][]sql.Statement{}
	}
	p.texts[text] = stmts
	return stmts, nil
}

// describe resolves a statement against the session's catalog and settings of this moment.
func (se *session) describe(stmt sql.Statement, params []uint32) (description, error) {
	switch st := stmt.(type) {
	case *sql.Select:
		return se.describeQuery(st.Query, params)
	case *sql.Explain:
		if _, err := se.describeQuery(st.Query, params); err != nil {
			return description{}, err
		}
		return description{rows: true, columns: textColumns("Timestamp")}, nil
	case *sql.Subscribe:
		p, err := se.subscribePlan(st)
		if err != nil {
			return description{}, err
		}
		return description{rows: true, columns: p.columns}, nil
	case *sql.Copy:
		return se.describeCopy(st)
	case *sql.Insert, *sql.Update, *sql.Delete:
		w, err := se.writePlan(stmt, params)
		if err != nil {
			return description{}, err
		}
		return description{params: w.plan.Params}, nil
	case *sql.Show:
		return se.describeShow(st)
	case *sql.ShowObjects:
		q, err := showObjectsQuery(st)
		if err != nil {
			return description{}, err
		}
		return se.describeQuery(q, nil)
	case *sql.Fetch:
		c := se.cursors[st.Cursor]
		if c == nil {
			return description{}, failf("34000", "cursor %q does not exist", st.Cursor)
		}
		return description{rows: true, columns: c.stmt.desc.columns}, nil
	case *sql.Execute:
		p := se.prepared[st.Name]
		if p == nil {
			return description{}, failf("26000", "prepared statement %q does not exist", st.Name)
		}
		return description{rows: p.desc.rows, columns: p.desc.columns, copy: p.desc.copy}, nil
	}
	return description{}, nil
}

func (se *session) describeQuery(q *sql.Query, params []uint32) (description, error) {
	p, err := se.catalog().plan(q, se.scope(), params, se)
	if err != nil {
		return description{}, err
	}
	return description{rows: true, columns: p.plan.Columns, params: p.plan.Params}, nil
}

// verify finds out what a prepared statement means now; a changed shape is an error.
func (se *session) verify(st *statement) error {
	if st.ast == nil {
		return nil
	}
	now, err := se.describe(st.ast, st.params)
	if err != nil {
		return err
	}
	if !now.equal(st.desc) {
		return errPlanChanged
	}
	return nil
}

func textColumns(names ...string) []sql.Column {
	out := make([]sql.Column, len(names))
	for i, n := range names {
		out[i] = sql.Column{Name: n, Type: sql.Text, TypeMod: -1, Nullable: true}
	}
	return out
}

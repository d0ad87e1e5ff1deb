package sql

import "slices"

// operator computes rows; f is the row of the enclosing query, or of what lies
// to the left of a lateral item.
type operator interface {
	rows(e *env, f *frame) ([][]Value, error)
}

// oneRowOp is a missing FROM clause.
type oneRowOp struct{}

func (*oneRowOp) rows(*env, *frame) ([][]Value, error) { return [][]Value{{}}, nil }

// scanOp reads a relation, once per evaluation. It asks the resolver of the
// evaluation for it, so that a plan can outlive the data it was planned with.
type scanOp struct {
	name  Name
	width int
}

type scanKey string

func (o *scanOp) rows(e *env, _ *frame) ([][]Value, error) {
	key := scanKey(o.name.String())
	if rows, ok := e.memo[key].([][]Value); ok {
		return rows, nil
	}
	rel, err := e.r.Relation(o.name)
	if err != nil {
		return nil, err
	}
	if len(rel.Columns) != o.width {
		return nil, &Error{Code: "0A000", Message: "cached plan must not change result type"}
	}
	rows, err := rel.Rows(e.ctx)
	if err == nil {
		e.memo[key] = rows
	}
	return rows, err
}

// subOp reads a derived table or a common table expression.
type subOp struct{ sub *subplan }

func (o *subOp) rows(e *env, f *frame) ([][]Value, error) { return o.sub.rows(e, f) }

// funcOp calls a set-returning function.
type funcOp struct{ fn tableFn }

func (o *funcOp) rows(e *env, f *frame) ([][]Value, error) {
	if f == nil {
		f = &frame{}
	}
	return o.fn(e, f)
}

type valuesOp struct{ rowExprs [][]*typed }

func (o *valuesOp) rows(e *env, f *frame) ([][]Value, error) {
	out := make([][]Value, len(o.rowExprs))
	for i, exprs := range o.rowExprs {
		row, err := evalAll(e, &frame{nil, f}, exprs)
		if err != nil {
			return nil, err
		}
		out[i] = row
	}
	return out, nil
}

// filterOp keeps the rows for which every condition is true.
type filterOp struct {
	in    operator
	conds []*typed
}

func (o *filterOp) rows(e *env, f *frame) ([][]Value, error) {
	in, err := o.in.rows(e, f)
	if err != nil {
		return nil, err
	}
	var out [][]Value
	fr := &frame{nil, f}
	for _, row := range in {
		if err := e.tick(); err != nil {
			return nil, err
		}
		fr.row = row
		ok, err := allTrue(e, fr, o.conds)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, row)
		}
	}
	return out, nil
}

func allTrue(e *env, f *frame, conds []*typed) (bool, error) {
	for _, c := range conds {
		v, err := c.eval(e, f)
		if err != nil || v != true {
			return false, err
		}
	}
	return true, nil
}

type projectOp struct {
	in    operator
	exprs []*typed
}

func (o *projectOp) rows(e *env, f *frame) ([][]Value, error) {
	in, err := o.in.rows(e, f)
	if err != nil {
		return nil, err
	}
	out := make([][]Value, len(in))
	fr := &frame{nil, f}
	for i, row := range in {
		if err := e.tick(); err != nil {
			return nil, err
		}
		fr.row = row
		if out[i], err = evalAll(e, fr, o.exprs); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// setOpOp is UNION, EXCEPT or INTERSECT.
type setOpOp struct {
	op   string
	all  bool
	l, r operator
}

func (o *setOpOp) rows(e *env, f *frame) ([][]Value, error) {
	l, err := o.l.rows(e, f)
	if err != nil {
		return nil, err
	}
	r, err := o.r.rows(e, f)
	if err != nil {
		return nil, err
	}
	if o.op == "UNION" {
		all := slices.Concat(l, r)
		if o.all {
			return all, nil
		}
		return distinctRows(all), nil
	}
	if !o.all {
		l, r = distinctRows(l), distinctRows(r)
	}
	count := map[string]int{}
	for _, row := range r {
		count[rowKey(row)]++
	}
	var out [][]Value
	for _, row := range l {
		k := rowKey(row)
		inRight := count[k] > 0
		if inRight {
			count[k]--
		}
		if inRight == (o.op == "INTERSECT") {
			out = append(out, row)
		}
	}
	return out, nil
}

func distinctRows(rows [][]Value) [][]Value {
	seen := make(map[string]bool, len(rows))
	var out [][]Value
	for _, row := range rows {
		if k := rowKey(row); !seen[k] {
			seen[k] = true
			out = append(out, row)
		}
	}
	return out
}

type distinctOp struct{ in operator }

func (o *distinctOp) rows(e *env, f *frame) ([][]Value, error) {
	rows, err := o.in.rows(e, f)
	if err != nil {
		return nil, err
	}
	return distinctRows(rows), nil
}

// sortKey is a column to sort by.
type sortKey struct {
	index      int
	desc       bool
	nullsFirst bool
}

// sortRows sorts in place, keeping the order of equals.
func sortRows(rows [][]Value, keys []sortKey) {
	slices.SortStableFunc(rows, func(a, b []Value) int {
		for _, k := range keys {
			x, y := a[k.index], b[k.index]
			if x == nil || y == nil {
				if c := compareNulls(x, y, k.nullsFirst); c != 0 {
					return c
				}
				continue
			}
			c := compareValues(x, y)
			if k.desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
}

// sortOp sorts, keeps the first row of each DISTINCT ON group, and cuts hidden
// columns off.
type sortOp struct {
	in         operator
	keys       []sortKey
	width      int
	distinctOn []int
}

func (o *sortOp) rows(e *env, f *frame) ([][]Value, error) {
	in, err := o.in.rows(e, f)
	if err != nil {
		return nil, err
	}
	rows := slices.Clone(in)
	sortRows(rows, o.keys)
	if o.distinctOn != nil {
		seen := map[string]bool{}
		rows = slices.DeleteFunc(rows, func(row []Value) bool {
			var key []byte
			for _, i := range o.distinctOn {
				key = appendKey(key, row[i])
			}
			dup := seen[string(key)]
			seen[string(key)] = true
			return dup
		})
	}
	for i, row := range rows {
		rows[i] = row[:o.width:o.width]
	}
	return rows, nil
}

// limitOp is LIMIT and OFFSET; nil: not given.
type limitOp struct {
	in            operator
	limit, offset *typed
}

func (o *limitOp) rows(e *env, f *frame) ([][]Value, error) {
	rows, err := o.in.rows(e, f)
	if err != nil {
		return nil, err
	}
	count := func(t *typed, what string, none int64) (int64, error) {
		if t == nil {
			return none, nil
		}
		v, err := t.eval(e, &frame{nil, f})
		if err != nil || v == nil {
			return none, err
		}
		if n := v.(int64); n >= 0 {
			return n, nil
		}
		return 0, evalError("22023", "%s must not be negative", what)
	}
	skip, err := count(o.offset, "OFFSET", 0)
	if err != nil {
		return nil, err
	}
	rows = rows[min(skip, int64(len(rows))):]
	n, err := count(o.limit, "LIMIT", int64(len(rows)))
	if err != nil {
		return nil, err
	}
	return rows[:min(n, int64(len(rows)))], nil
}

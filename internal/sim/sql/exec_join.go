package sql

import "slices"

// joinOp joins two inputs. Keys, when there are any, are hashed; conditions
// see the rows of both sides. The right keys see the right row behind lwidth
// NULLs, so that both were planned in one scope.
type joinOp struct {
	kind           joinKind
	l, r           operator
	lwidth, rwidth int
	lkeys, rkeys   []*typed
	conds          []*typed
	lateral        bool // r sees the row of l
}

func (o *joinOp) rows(e *env, f *frame) ([][]Value, error) {
	left, err := o.l.rows(e, f)
	if err != nil {
		return nil, err
	}
	var right [][]Value
	var table map[string][]int
	if !o.lateral {
		if right, err = o.r.rows(e, f); err != nil {
			return nil, err
		}
		if table, err = o.hash(e, f, right); err != nil {
			return nil, err
		}
	}
	var out [][]Value
	matchedRight := make([]bool, len(right))
	for _, l := range left {
		if o.lateral {
			if right, err = o.r.rows(e, &frame{l, f}); err != nil {
				return nil, err
			}
		}
		n := len(out)
		if out, err = o.match(e, f, l, right, table, matchedRight, out); err != nil {
			return nil, err
		}
		if len(out) == n && (o.kind == joinLeft || o.kind == joinFull) {
			out = append(out, append(slices.Clone(l), make([]Value, o.rwidth)...))
		}
		if err := tooMany(len(out)); err != nil {
			return nil, err
		}
	}
	if o.kind == joinRight || o.kind == joinFull {
		for i, r := range right {
			if !matchedRight[i] {
				out = append(out, append(make([]Value, o.lwidth), r...))
			}
		}
	}
	return out, nil
}

// hash indexes the right rows by their keys; nil: there are no keys.
func (o *joinOp) hash(e *env, f *frame, right [][]Value) (map[string][]int, error) {
	if len(o.lkeys) == 0 {
		return nil, nil
	}
	table := make(map[string][]int, len(right))
	for i, r := range right {
		if err := e.tick(); err != nil {
			return nil, err
		}
		key, null, err := joinKey(e, &frame{append(make([]Value, o.lwidth), r...), f}, o.rkeys)
		if err != nil {
			return nil, err
		}
		if !null {
			table[key] = append(table[key], i)
		}
	}
	return table, nil
}

func joinKey(e *env, f *frame, keys []*typed) (key string, null bool, err error) {
	var dst []byte
	for _, k := range keys {
		v, err := k.eval(e, f)
		if err != nil {
			return "", false, err
		}
		if v == nil {
			return "", true, nil
		}
		dst = appendKey(dst, v)
	}
	return string(dst), false, nil
}

// match appends the joined rows of one left row.
func (o *joinOp) match(e *env, f *frame, l []Value, right [][]Value, table map[string][]int, matched []bool, out [][]Value) ([][]Value, error) {
	try := func(i int) error {
		if err := e.tick(); err != nil {
			return err
		}
		row := append(append(make([]Value, 0, o.lwidth+o.rwidth), l...), right[i]...)
		ok, err := allTrue(e, &frame{row, f}, o.conds)
		if err != nil || !ok {
			return err
		}
		if !o.lateral {
			matched[i] = true
		}
		out = append(out, row)
		return tooMany(len(out))
	}
	if table == nil {
		for i := range right {
			if err := try(i); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	key, null, err := joinKey(e, &frame{l, f}, o.lkeys)
	if err != nil || null {
		return out, err
	}
	for _, i := range table[key] {
		if err := try(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}

package sql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// memory is a resolver over relations held in memory.
type memory struct {
	relations map[string]*Relation
	functions map[string]Value
	reads     map[string]int
}

func (m *memory) Relation(name Name) (*Relation, error) {
	if rel, ok := m.relations[name.Item()]; ok {
		return &Relation{Columns: rel.Columns, Rows: func(ctx context.Context) ([][]Value, error) {
			if m.reads != nil {
				m.reads[name.Item()]++
			}
			return rel.Rows(ctx)
		}}, nil
	}
	return nil, planError("unknown catalog item '%s'", name)
}

func (m *memory) Function(name string, _ []Value) (Value, bool, error) {
	v, ok := m.functions[name]
	return v, ok, nil
}

// relation makes a relation from "name type[!]" columns (! is NOT NULL) and
// rows in text form; a nil cell is NULL.
func relation(t testing.TB, columns string, rows ...[]any) *Relation {
	var cols []Column
	for def := range strings.SplitSeq(columns, ",") {
		name, typ, _ := strings.Cut(strings.TrimSpace(def), " ")
		typ, notNull := strings.CutSuffix(typ, "!")
		ct, ok := TypeByName(typ)
		if !ok {
			t.Fatalf("type %q", typ)
		}
		cols = append(cols, Column{Name: name, Type: ct, TypeMod: -1, Nullable: !notNull})
	}
	var values [][]Value
	for _, row := range rows {
		out := make([]Value, len(row))
		for i, cell := range row {
			if cell == nil {
				continue
			}
			v, err := parseText(fmt.Sprint(cell), cols[i].Type)
			if err != nil {
				t.Fatal(err)
			}
			out[i] = v
		}
		values = append(values, out)
	}
	return &Relation{Columns: cols, Rows: func(context.Context) ([][]Value, error) { return values, nil }}
}

func fruits(t testing.TB) *memory {
	return &memory{
		relations: map[string]*Relation{
			"fruit": relation(t, "id int!, name text!, price numeric, color text",
				[]any{1, "apple", "1.50", "red"}, []any{2, "banana", "0.25", "yellow"}, []any{3, "cherry", "4", "red"}, []any{4, "quince", nil, nil}),
			"sale": relation(t, "fruit_id int!, n bigint!, at timestamptz!",
				[]any{1, 10, "2026-01-01 00:00:00"}, []any{1, 5, "2026-01-02 00:00:00"}, []any{2, 7, "2026-01-02 12:00:00"}, []any{9, 1, "2026-01-03 00:00:00"}),
			"acl": relation(t, "id text!, privileges mz_aclitem[]!", []any{"s1", `{=U/s1,u1=UC/s1}`}, []any{"s2", `{}`}),
			"doc": relation(t, "id int!, body jsonb, tags text[], path text list!",
				[]any{1, `{"b":[1,2,{"c":"x"}],"a":"t","id":"u1"}`, `{x,"y z"}`, `{p}`}, []any{2, nil, nil, `{}`}),
			"kinds": relation(t, "u uint4!, w uint8!, ts mz_timestamp!, iv interval, b bool, f double precision, i2 smallint, o oid",
				[]any{7, 8, 1767225600000, "1 day 02:03:04.5", "t", 2.5, 3, 99}),
			"empty": relation(t, "k int, v text"),
		},
		functions: map[string]Value{
			"current_user": "app", "pg_backend_pid": int64(7), "now": time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC), "mz_now": int64(1767225600000),
		},
	}
}

// show prints columns as name:oid, ! behind those that are NOT NULL.
func showColumns(cols []Column) string {
	var parts []string
	for _, c := range cols {
		s := fmt.Sprintf("%s:%d", c.Name, c.Type.OID)
		if !c.Nullable {
			s += "!"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func showRows(rows [][]Value, cols []Column) string {
	var lines []string
	for _, row := range rows {
		var cells []string
		for i, v := range row {
			if v == nil {
				cells = append(cells, "NULL")
			} else {
				cells = append(cells, string(EncodeText(v, cols[i].Type)))
			}
		}
		lines = append(lines, strings.Join(cells, "|"))
	}
	return strings.Join(lines, "; ")
}

// run plans and evaluates one query; an error is shown as "E code text".
func run(t testing.TB, r Resolver, query string, params []uint32, args ...Value) (columns, rows string) {
	t.Helper()
	q, err := ParseQuery(query)
	if err != nil {
		return "", showError(t, err)
	}
	p, err := q.Plan(r, params)
	if err != nil {
		return "", showError(t, err)
	}
	columns = showColumns(p.Columns)
	out, err := p.Eval(t.Context(), r, args)
	if err != nil {
		return columns, showError(t, err)
	}
	return columns, showRows(out, p.Columns)
}

func showError(t testing.TB, err error) string {
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("error of type %T: %v", err, err)
		return err.Error()
	}
	return "E " + e.Code + " " + e.Message
}

package sql

import (
	"context"
	"errors"
	"testing"
	"time"
)

// FuzzParse feeds texts to the parser, and what parses on to the planner and
// the evaluator: none of them may panic, and every failure is an *Error.
func FuzzParse(f *testing.F) {
	for _, c := range recorded(f) {
		f.Add(c[0])
	}
	for i, c := range evalCases {
		if i%3 == 0 {
			f.Add(c[0])
		}
	}
	for _, text := range []string{"CREATE CLUSTER c (SIZE 'x', REPLICAS (r (SIZE 'y')))", "COPY t FROM STDIN (FORMAT csv)", "SELECT U&'a'", "SELECT $1::text list", "SET a = -"} {
		f.Add(text)
	}
	m := fruits(f)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse(text)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%T: %v", err, err)
		}
		if err != nil && e.Position > len(text)+1 {
			t.Fatalf("position %d in %d bytes", e.Position, len(text))
		}
		for _, s := range list {
			if s.Text() == "" || s.String() == "" || s.Tag() == "" {
				t.Fatalf("%#v has no text, print or tag", s)
			}
			tryQuery(t, m, s)
		}
	})
}

// tryQuery plans and evaluates a query for as long as a fuzzer can wait.
func tryQuery(t *testing.T, m *memory, s Statement) {
	sel, ok := s.(*Select)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	p, err := sel.Query.Plan(m, nil)
	var e *Error
	if err != nil {
		if !errors.As(err, &e) {
			t.Fatalf("%T: %v", err, err)
		}
		return
	}
	rows, err := p.Eval(ctx, m, make([]Value, len(p.Params)))
	if err != nil && !errors.As(err, &e) && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%T: %v", err, err)
	}
	for _, row := range rows {
		if len(row) != len(p.Columns) {
			t.Fatalf("a row of %d in a result of %d columns", len(row), len(p.Columns))
		}
		for i, v := range row {
			if v != nil && EncodeText(v, p.Columns[i].Type) == nil {
				t.Fatalf("%v has no text", v)
			}
		}
	}
}

package sql

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestWrites(t *testing.T) {
	m := fruits(t)
	fruit := m.relations["fruit"]
	before, err := fruit.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		args []Value
		want string // inserted; updated as index=row; deleted as -index
	}{
		{"INSERT INTO fruit VALUES (5, 'fig', 1, NULL), (6, 'kiwi', 2.50, 'green')", nil, "5|fig|1|NULL; 6|kiwi|2.5|green"},
		{"INSERT INTO fruit (name, id) VALUES ($1, $2)", []Value{"fig", int64(5)}, "5|fig|NULL|NULL"},
		{"INSERT INTO fruit SELECT id + 10, upper(name) FROM fruit WHERE id < 3", nil, "11|APPLE|NULL|NULL; 12|BANANA|NULL|NULL"},
		{"INSERT INTO fruit (id, name) SELECT 7, 'x'", nil, "7|x|NULL|NULL"},
		{"INSERT INTO fruit (id) VALUES (1)", nil, `E 23502 null value in column "name" violates not-null constraint`},
		{"INSERT INTO fruit (nope) VALUES (1)", nil, `E XX000 column "nope" does not exist`},
		{"INSERT INTO fruit (id) VALUES (1, 2)", nil, "E XX000 INSERT has more expressions than target columns"},
		{"INSERT INTO fruit (id, name) VALUES (true, 'x')", nil, `E XX000 column "id" is of type integer but expression is of type boolean`},
		{"INSERT INTO fruit (id, name) VALUES ('x', 'x')", nil, `E XX000 invalid input syntax for type integer: invalid digit found in string: "x"`},
		{"UPDATE fruit SET price = price * 2, color = 'r' || color WHERE color = 'red'", nil, "0=1|apple|3|rred; 2=3|cherry|8|rred"},
		{"UPDATE fruit f SET name = $1 WHERE f.id = $2", []Value{"x", int64(4)}, "3=4|x|NULL|NULL"},
		{"UPDATE fruit SET nope = 1", nil, "E XX000 unknown column nope"},
		{"UPDATE fruit SET name = NULL", nil, `E 23502 null value in column "name" violates not-null constraint`},
		{"DELETE FROM fruit WHERE id IN (SELECT fruit_id FROM sale)", nil, "-0; -1"},
		{"DELETE FROM fruit WHERE color <> 'red'", nil, "-1"},
		{"DELETE FROM fruit", nil, "-0; -1; -2; -3"},
	} {
		list, err := Parse(c.text)
		if err != nil {
			t.Fatal(err)
		}
		var p *WritePlan
		switch s := list[0].(type) {
		case *Insert:
			p, err = s.Plan(m, fruit, nil)
		case *Update:
			p, err = s.Plan(m, fruit, nil)
		case *Delete:
			p, err = s.Plan(m, fruit, nil)
		}
		var ch Changes
		if err == nil {
			ch, err = p.Eval(t.Context(), m, before, c.args)
		}
		got := ""
		if err != nil {
			got = showError(t, err)
		} else {
			got = showChanges(ch, fruit.Columns)
		}
		if got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
	after, err := fruit.Rows(t.Context())
	if err != nil || showRows(after, fruit.Columns) != "1|apple|1.5|red; 2|banana|0.25|yellow; 3|cherry|4|red; 4|quince|NULL|NULL" {
		t.Errorf("the table's own rows have changed: %v, %v", after, err)
	}
}

func showChanges(ch Changes, cols []Column) string {
	var parts []string
	if len(ch.Insert) > 0 {
		parts = append(parts, showRows(ch.Insert, cols))
	}
	for _, i := range slices.Sorted(maps.Keys(ch.Update)) {
		parts = append(parts, itoa(i)+"="+showRows([][]Value{ch.Update[i]}, cols))
	}
	for _, i := range ch.Delete {
		parts = append(parts, "-"+itoa(i))
	}
	return strings.Join(parts, "; ")
}

func TestInsertConstant(t *testing.T) {
	m := fruits(t)
	for text, want := range map[string]bool{
		"INSERT INTO fruit (id, name) VALUES (1, 'x')":            true,
		"INSERT INTO fruit (id, name) SELECT id, name FROM fruit": false,
	} {
		list, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := list[0].(*Insert).Plan(m, m.relations["fruit"], nil)
		if err != nil || p.Constant != want {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
}

func TestEvalArgs(t *testing.T) {
	list, err := Parse("EXECUTE p (1, 'x', NULL, 2 + 3)")
	if err != nil {
		t.Fatal(err)
	}
	args := list[0].(*Execute).Args
	got, err := EvalArgs(t.Context(), fruits(t), args, []uint32{OIDInt8, OIDText, OIDBool, OIDNumeric})
	if err != nil || len(got) != 4 || got[0] != int64(1) || got[1] != "x" || got[2] != nil || got[3].(Numeric).String() != "5" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := EvalArgs(t.Context(), fruits(t), args[:1], []uint32{OIDInt8, OIDInt8}); err == nil {
		t.Error("too few arguments were accepted")
	}
}

package sql

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
)

// recorded reads testdata/recorded.txt: statement, error position, error text.
func recorded(t testing.TB) (cases [][3]string) {
	data, err := os.ReadFile("testdata/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "  "); ok {
			last := &cases[len(cases)-1]
			last[1], last[2], _ = strings.Cut(rest, " ")
		} else if !strings.HasPrefix(line, "#") {
			cases = append(cases, [3]string{line})
		}
	}
	return cases
}

func TestParseRecorded(t *testing.T) {
	for _, c := range recorded(t) {
		_, err := Parse(c[0])
		var e *Error
		switch {
		case err == nil && c[1] == "":
		case err == nil:
			t.Errorf("%s\nparsed, want error %s", c[0], c[2])
		case !errors.As(err, &e):
			t.Errorf("%s\nerror of type %T", c[0], err)
		case c[1] == "":
			t.Errorf("%s\n%v at %d", c[0], err, e.Position)
		case e.Message != c[2] || strconv.Itoa(e.Position) != c[1] || e.Code != "42601":
			t.Errorf("%s\ngot  %s %d %s\nwant 42601 %s %s", c[0], e.Code, e.Position, e.Message, c[1], c[2])
		}
	}
}

func TestParseSetupAndQueries(t *testing.T) {
	for _, name := range []string{"testdata/setup.sql", "testdata/queries.sql"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		statements, err := Parse(string(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(statements) < 15 {
			t.Errorf("%s: %d statements", name, len(statements))
		}
	}
}

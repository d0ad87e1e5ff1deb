package router

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"   ", nil},
		{"prod", []string{"prod"}},
		{"prod, public", []string{"prod", "public"}},
		{" prod ,public ", []string{"prod", "public"}},
		{"PROD, \"PROD\"", []string{"prod", "PROD"}},
		{`"$user", public`, []string{"$user", "public"}},
		{`"prod-deploy"`, []string{"prod-deploy"}},
		{`"a,b", "c ""d"""`, []string{"a,b", `c "d"`}},
		{`"with space"`, []string{"with space"}},
		{`""`, []string{""}},
		{"_x$1", []string{"_x$1"}},
		{"größe, \"Größe\"", []string{"größe", "Größe"}},
		{"日本", []string{"日本"}},
	} {
		got, err := ParsePath(c.text)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q is %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

// What the server's own start-up parser would cut short is refused: an unquoted
// dash names another schema there, and that schema is production.
func TestParsePathRefusesWhatTheServerWouldCut(t *testing.T) {
	for _, text := range []string{
		"prod-deploy", "prod prod_deploy", "prod.answer", "prod,", ",prod", "prod,,public", `"prod`, `prod"x"`, `"a"b`, "1prod", "$user", "prod;", "prod --", "'prod'", "(prod)",
	} {
		if got, err := ParsePath(text); err == nil {
			t.Errorf("%q was read as %q", text, got)
		} else if !strings.Contains(err.Error(), "search_path") {
			t.Errorf("%q: the error does not say what it is about: %v", text, err)
		}
	}
}

func TestQuoting(t *testing.T) {
	if got := FormatPath([]string{"prod-deploy", `a"b`, "Größe"}); got != `"prod-deploy", "a""b", "Größe"` {
		t.Errorf("quoted as %s", got)
	}
	s := Settings{Cluster: "prod-serve", Path: []string{"prod"}}
	if s.String() != `cluster="prod-serve" search_path="prod"` {
		t.Errorf("printed as %s", s)
	}
	if (Settings{Path: []string{"prod"}}).String() != `search_path="prod"` {
		t.Error("a server without clusters has one")
	}
}

// Whatever the names are, quoting them and reading them back gives the same names.
func FuzzPathRoundTrip(f *testing.F) {
	for _, s := range []string{"prod", "prod-deploy", `a"b`, "$user", "", "größe", "a,b", " ", "\xff"} {
		f.Add(s, "public")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		want := []string{a, b}
		got, err := ParsePath(FormatPath(want))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q reads back as %q, %v", want, got, err)
		}
	})
}

// Anything may be read without a panic; what is accepted stays what it is when it
// is written and read once more.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"", "prod, \"x\"", "prod-deploy", `"a""b"`, `"`, ",", "A,b ,\"C\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, err := ParsePath(text)
		if err != nil {
			return
		}
		second, err := ParsePath(FormatPath(first))
		if err != nil || !slices.Equal(first, second) {
			t.Errorf("%q is %q and then %q, %v", text, first, second, err)
		}
	})
}

func TestSettingsEqual(t *testing.T) {
	a := Settings{Cluster: "c", Path: []string{"x", "y"}}
	for _, c := range []struct {
		b    Settings
		want bool
	}{
		{Settings{Cluster: "c", Path: []string{"x", "y"}}, true},
		{Settings{Cluster: "C", Path: []string{"x", "y"}}, false},
		{Settings{Cluster: "c", Path: []string{"y", "x"}}, false},
		{Settings{Cluster: "c", Path: []string{"x"}}, false},
	} {
		if a.Equal(c.b) != c.want {
			t.Errorf("%v equals %v: want %v", a, c.b, c.want)
		}
	}
}

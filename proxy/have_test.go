package proxy

import (
	"reflect"
	"strings"
	"testing"

	"mzcanary/router"
)

// haveScript plays words to a Have: cluster=x and path=x are ParameterStatus,
// I T E ReadyForQuery, ! an ErrorResponse, other words tags ('_' for a space).
func haveScript(traits Traits, script string) *Have {
	h := &Have{Traits: traits}
	for _, word := range strings.Fields(script) {
		name, value, isValue := strings.Cut(word, "=")
		switch {
		case isValue && name == "path":
			h.Parameter([]byte("search_path"), []byte(value))
		case isValue:
			h.Parameter([]byte(name), []byte(value))
		case word == "I" || word == "T" || word == "E":
			h.Ready(word[0])
		case word == "!":
			h.Failed()
		default:
			h.Tag(ReadTag([]byte(strings.ReplaceAll(word, "_", " "))))
		}
	}
	return h
}

func TestHave(t *testing.T) {
	traits := map[string]Traits{
		"26.4":  TraitsOf(parameters("mz_version", "v26.4.0-dev.0 (4c45b0938)")),
		"26.39": TraitsOf(parameters("mz_version", "v26.39.0 (30e4b1d24)")),
		"pg15":  TraitsOf(parameters("server_version", "15.3")),
		"pg18":  TraitsOf(parameters("server_version", "18.0", "search_path", "a")),
	}
	for _, c := range []struct {
		name, server, script string
		want                 Certainty
		values               string
	}{
		{"before the login ends", "26.4", "cluster=a path=a", HaveUnknown, `cluster="a" search_path="a"`},
		{"login", "26.4", "cluster=a path=a I", HaveKnown, `cluster="a" search_path="a"`},
		{"SET", "26.4", "cluster=a path=a I cluster=b SET I", HaveProvisional, `cluster="b" search_path="a"`},
		{"SET, end reported", "26.39", "cluster=a path=a I cluster=b SET I", HaveKnown, `cluster="b" search_path="a"`},
		{"SET LOCAL, end reported", "26.39", "cluster=a path=a I cluster=b SET cluster=a I", HaveKnown, `cluster="a" search_path="a"`},
		{"in a transaction", "26.4", "cluster=a path=a I BEGIN T path=b SET T", HaveProvisional, `cluster="a" search_path="b"`},
		{"committed", "26.4", "cluster=a path=a I BEGIN T path=b SET T COMMIT I", HaveKnown, `cluster="a" search_path="b"`},
		{"local, committed", "26.4", "cluster=a path=a I BEGIN T path=b SET T path=a COMMIT I", HaveKnown, `cluster="a" search_path="a"`},
		{"rolled back", "26.4", "cluster=a path=a I BEGIN T path=b SET T path=a ROLLBACK I", HaveUnknown, `cluster="a" search_path="a"`},
		{"rolled back, nothing set", "26.4", "cluster=a path=a I BEGIN T SELECT_1 T ROLLBACK I", HaveKnown, `cluster="a" search_path="a"`},
		{"implicit, failed", "26.4", "cluster=a path=a I cluster=b SET ! I", HaveUnknown, `cluster="b" search_path="a"`},
		{"DISCARD ALL says nothing", "26.4", "cluster=a path=a I DISCARD_ALL I", HaveUnknown, `cluster="a" search_path="a"`},
		{"RESET", "26.4", "cluster=a path=a I cluster=quickstart RESET I", HaveUnknown, `cluster="quickstart" search_path="a"`},
		{"other SET", "26.4", "cluster=a path=a I TimeZone=UTC SET I", HaveKnown, `cluster="a" search_path="a"`},
		{"one value proves not the other", "26.39", "cluster=a path=a I DISCARD_ALL I path=b SET I", HaveUnknown, `cluster="a" search_path="b"`},
		{"both proven again", "26.39", "cluster=a path=a I DISCARD_ALL I path=b SET cluster=b SET I", HaveKnown, `cluster="b" search_path="b"`},
		{"a transaction proves not what was set before it", "26.4",
			"cluster=a path=a I cluster=b SET I BEGIN T path=b SET T COMMIT I", HaveProvisional, `cluster="b" search_path="b"`},
		{"a whole transaction in one query", "26.4", "cluster=a path=a I BEGIN path=b SET COMMIT I", HaveKnown, `cluster="a" search_path="b"`},
		{"SET LOCAL behind the COMMIT", "26.4", "cluster=a path=a I BEGIN T COMMIT path=b SET I", HaveProvisional, `cluster="a" search_path="b"`},
		{"SET behind the ROLLBACK", "26.4", "cluster=a path=a I BEGIN T ROLLBACK path=b SET I", HaveProvisional, `cluster="a" search_path="b"`},
		{"PostgreSQL reports nothing", "pg15", "I", HaveUnknown, `search_path=`},
		{"PostgreSQL 18", "pg18", "path=a I", HaveKnown, `search_path="a"`},
		{"PostgreSQL 18 tells all", "pg18", "path=a I DISCARD_ALL path=b I", HaveKnown, `search_path="b"`},
		{"PostgreSQL 18 rolls back", "pg18", "path=a I BEGIN T SET path=b T ! E ROLLBACK path=a I", HaveKnown, `search_path="a"`},
	} {
		t.Run(c.server+" "+c.name, func(t *testing.T) {
			h := haveScript(traits[c.server], c.script)
			if values, _ := h.Values(); h.Certain() != c.want || values.String() != c.values {
				t.Fatalf("%v %v, want %v %v", h.Certain(), values, c.want, c.values)
			}
		})
	}
}

func parameters(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestHaveInjected(t *testing.T) {
	traits := Traits{Strays: StraysIgnored}
	h := haveScript(traits, "I")
	want := router.Settings{Path: []string{"prod-deploy", "public"}}
	h.Injected(want)
	if values, ok := h.Values(); !ok || h.Certain() != HaveKnown || !values.Equal(want) {
		t.Fatalf("%v %v", h.Certain(), values)
	}
	if h.ClientSet() {
		t.Error("an injection is not the client's")
	}
	for _, tag := range []Tag{TagSet, TagReset, TagDiscardAll, TagProcedure} {
		h.Injected(want)
		h.Tag(tag)
		h.Ready('I')
		if h.Certain() != HaveUnknown || !h.ClientSet() || h.ClientSet() {
			t.Errorf("tag %d: %v", tag, h.Certain())
		}
	}
	h.Injected(want)
	h.Tag(TagOther)
	h.Ready('I')
	if h.Certain() != HaveKnown {
		t.Error("a SELECT changes nothing")
	}
}

func TestTraitsOf(t *testing.T) {
	for version, want := range map[string]Traits{
		"v26.4.0-dev.0 (4c45b0938)":            {Materialize: true, CopyReadsAll: true, ReportsPath: true, Strays: StraysDrained},
		"v26.33.0 (abc, helm chart: 1)":        {Materialize: true, CopyReadsAll: true, ReportsPath: true, Strays: StraysIgnored},
		"v26.37.2":                             {Materialize: true, CopyReadsAll: true, ReportsPath: true, Strays: StraysIgnored, ReportsEnd: true},
		"v27.0.0":                              {Materialize: true, CopyReadsAll: true, ReportsPath: true, Strays: StraysIgnored, ReportsEnd: true},
		"v25.40.0":                             {Materialize: true, CopyReadsAll: true, ReportsPath: true, Strays: StraysDrained},
		"something that is not a version 26.4": {Materialize: true, CopyReadsAll: true, ReportsPath: true},
	} {
		if got := TraitsOf(parameters("mz_version", version)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", version, got)
		}
	}
}

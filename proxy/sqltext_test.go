package proxy

import (
	"testing"

	"mzcanary/router"
)

var livePairs = []router.Pair{{Live: "prod", Deploy: "prod_deploy"}, {Live: `We"ird`, Deploy: "x"}}

func TestNamesSchema(t *testing.T) {
	for text, want := range map[string]bool{
		"SELECT * FROM prod.t":                         true,
		"SELECT * FROM PROD.t":                         true,
		`SELECT * FROM "prod".t`:                       true,
		`SELECT * FROM "prod"."t"`:                     true,
		"SELECT * FROM db.prod.t":                      true,
		`SELECT * FROM "db"."prod".t`:                  true,
		"SELECT * FROM prod . t":                       true,
		"SELECT * FROM prod/* why */./* not */t":       true,
		"SELECT prod.t.x FROM t":                       true,
		`SELECT * FROM "We""ird".t`:                    true,
		"SELECT f(1)FROM(SELECT*FROM prod.t)":          true,
		"SELECT 'it''s' || x FROM prod.t":              true,
		`SELECT E'a\'' , 1 FROM prod.t`:                true,
		"SELECT $1 FROM prod.t WHERE a = $2":           true,
		"SELECT $$prod.x$$ FROM prod.t":                true,
		"/* a /* b */ c */ SELECT * FROM prod.t":       true,
		"SELECT 1 -- no\nFROM prod.t":                  true,
		"SELECT * FROM t":                              false,
		"SELECT * FROM prod_deploy.t":                  false,
		"SELECT * FROM xprod.t, prodx.t":               false,
		`SELECT * FROM "PROD".t`:                       false,
		"SELECT * FROM other.prod.t":                   false, // another database
		"SELECT * FROM a.b.prod.t":                     false,
		"SELECT 'prod.t'":                              false,
		`SELECT 'a''prod.t'`:                           false,
		`SELECT E'\' prod.t'`:                          false,
		"SELECT $$prod.t$$":                            false,
		"SELECT $a$ $$ prod.t $a$":                     false,
		"SELECT $tag$ prod.t":                          false, // cut
		"-- prod.t\nSELECT 1":                          false,
		"/* prod.t /* prod.t */ prod.t */ SELECT 1":    false,
		"SELECT 1 /* prod.t":                           false,
		`SELECT "x prod.t"`:                            false,
		"SELECT prod FROM t":                           false,
		"SELECT 'x' FROM prod":                         false,
		"SET search_path = prod":                       false,
		"SELECT 1.prod":                                false,
		"":                                             false,
		"'":                                            false,
		`"`:                                            false,
		`E'\`:                                          false,
		"SELECT t.prod FROM t":                         false,
		"SELECT * FROM we.ird":                         false,
		"SELECT a$prod.t":                              false,
		"INSERT INTO t VALUES (1); DELETE FROM prod.t": true,
	} {
		if got := namesSchema([]byte(text), livePairs, "db"); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestNormalise(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT  *\n FROM prod.t WHERE name = 'Ann''s' AND id=42": "SELECT * FROM prod.t WHERE name = ? AND id=?",
		"SELECT $1, $$secret$$, E'\\'x' -- secret":                "SELECT $1, ?, ?",
		"/* secret */ SELECT 'unfinished secret":                  "SELECT ?",
		`SELECT "Name" FROM t`:                                    `SELECT "Name" FROM t`,
		"SELECT 0x1F, 1.5e10":                                     "SELECT ?, ?",
	} {
		if got := string(normalise(make([]byte, 0, sampleText), []byte(text))); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
	if got := normalise(make([]byte, 0, 10), []byte("SELECT abcdef")); string(got) != "SELECT" {
		t.Errorf("cut to %q", got)
	}
}

func TestNamesSchemaAllocatesNothing(t *testing.T) {
	text := []byte(`SELECT 'a', "b"."c", $$d$$ FROM db.t /* e */ WHERE x = $1 AND other.y = E'\'z' -- end`)
	if n := testing.AllocsPerRun(100, func() { namesSchema(text, livePairs, "db") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzNamesSchema: any text, cut anywhere, is read to its end.
func FuzzNamesSchema(f *testing.F) {
	for _, s := range []string{"SELECT 'a' FROM prod.t", `"a""b".c`, "$a$ $a$", "/* /* */", "E'\\", "1.2.3", "$", "\"", "prod."} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		namesSchema(text, livePairs, "db")
		if out := normalise(make([]byte, 0, sampleText), text); len(out) > sampleText {
			t.Errorf("%d bytes", len(out))
		}
	})
}

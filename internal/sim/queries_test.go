package sim

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestQueries runs the catalog queries that were proven on a real server, and compares what they return with what
// they returned there, ids and lags aside.
func TestQueries(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	s, addr, _ := startServer(t, Options{Clock: func() time.Time { return time.Now().Add(time.Duration(later.Load())) }})
	setUp(t, s)
	swapTwice := strings.Repeat(swapBoth+";", 2)
	err := s.ExecAs(t.Context(), "materialize", `
		CREATE VIEW reports.daily AS SELECT * FROM prod.total; CREATE INDEX daily_idx IN CLUSTER prod ON reports.daily (n);
		CREATE VIEW reports.deep AS SELECT * FROM reports.daily;
		CREATE MATERIALIZED VIEW prod_deploy.bad_reader IN CLUSTER prod_deploy AS SELECT * FROM prod.only_old;
		ALTER ROLE app SET cluster = prod; COMMENT ON CLUSTER prod_deploy IS 'mzcanary: rollout r1';`+swapTwice)
	if err != nil {
		t.Fatal(err)
	}
	later.Store(int64(2 * time.Minute)) // the wallclock lag has been written
	c := connectPGX(t, addr, "user=materialize options='-c cluster=prod'")
	queries, err1 := os.ReadFile(filepath.Join("testdata", "conversations", "queries.sql"))
	outputs, err2 := os.ReadFile(filepath.Join("testdata", "conversations", "queries.out"))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	want := readTables(string(outputs))
	n := 0
	for _, q := range splitStatements(string(queries)) {
		res, err := c.PgConn().Exec(t.Context(), q).ReadAll()
		if err != nil {
			t.Errorf("%s: %v", q, err)
			n++
			continue
		}
		var got []string
		var head []string
		for _, f := range res[0].FieldDescriptions {
			head = append(head, f.Name)
		}
		got = append(got, strings.Join(head, "|"))
		for _, row := range res[0].Rows {
			var cells []string
			for _, v := range row {
				cells = append(cells, string(v))
			}
			got = append(got, strings.Join(cells, "|"))
		}
		if n >= len(want) {
			t.Fatalf("no recorded table for %s", q)
		}
		if len(res[0].Rows) == 0 {
			got[0] = want[n][0] // the driver forgets the columns of an empty result
		}
		if g, w := maskTable(got), maskTable(want[n]); g != w {
			t.Errorf("%s\n--- want\n%s\n--- got\n%s", q, w, g)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d queries, %d recorded tables", n, len(want))
	}
}

// splitStatements drops comment lines and splits at semicolons that end a line.
func splitStatements(text string) (out []string) {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "--") || strings.TrimSpace(line) == "" {
			continue
		}
		lines = append(lines, line)
		if strings.HasSuffix(strings.TrimSpace(line), ";") {
			out = append(out, strings.Join(lines, "\n"))
			lines = nil
		}
	}
	return out
}

// readTables reads psql's aligned output: every table as lines of cells, the names of the columns first.
func readTables(text string) (tables [][]string) {
	var current []string
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, "--") && !strings.Contains(line, "+-") && strings.Trim(line, "-") != "":
		case strings.Trim(line, "-+") == "" && line != "":
		case strings.HasPrefix(line, "(") && strings.Contains(line, " row"):
			tables = append(tables, current)
			current = nil
		case line != "":
			cells := strings.Split(line, "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			current = append(current, strings.Join(cells, "|"))
		}
	}
	return tables
}

var (
	idPattern   = regexp.MustCompile(`\bu\d+\b`)
	lagPattern  = regexp.MustCompile(`00:00:0\d`)
	swapPattern = regexp.MustCompile(`swap_[0-9a-f]{12}`)
)

func maskTable(lines []string) string {
	text := strings.Join(lines, "\n")
	text = idPattern.ReplaceAllString(text, "<id>")
	text = lagPattern.ReplaceAllString(text, "<lag>")
	return swapPattern.ReplaceAllString(text, "swap_<random>")
}

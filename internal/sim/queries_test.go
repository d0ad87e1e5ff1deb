package sim

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
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
		got, types, err := askTable(t.Context(), c.PgConn(), q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			n++
			continue
		}
		if n >= len(want) {
			t.Fatalf("no recorded table for %s", q)
		}
		if g, w := maskTable(got), maskTable(want[n].lines); g != w {
			t.Errorf("%s\n--- want\n%s\n--- got\n%s", q, w, g)
		}
		for i, right := range want[n].right {
			if isNumber := slices.Contains(numbers, types[i]); right != 0 && isNumber != (right > 0) {
				t.Errorf("%s\ncolumn %d has type %d, but psql aligned the recorded one to the right: %t", q, i+1, types[i], right > 0)
			}
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d queries, %d recorded tables", n, len(want))
	}
}

// numbers are the types that psql aligns to the right. Materialize's unsigned ones and
// mz_timestamp are not among them: psql does not know them.
var numbers = []uint32{pgtype.Int8OID, pgtype.Int2OID, pgtype.Int4OID, pgtype.OIDOID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID}

// askTable returns the names of the columns and the rows as lines, and the types.
func askTable(ctx context.Context, c *pgconn.PgConn, q string) (lines []string, types []uint32, err error) {
	results := c.Exec(ctx, q)
	if results.NextResult() {
		rows := results.ResultReader()
		var head []string
		for _, f := range rows.FieldDescriptions() {
			head, types = append(head, f.Name), append(types, f.DataTypeOID)
		}
		lines = append(lines, strings.Join(head, "|"))
		for rows.NextRow() {
			var cells []string
			for _, v := range rows.Values() {
				cells = append(cells, string(v))
			}
			lines = append(lines, strings.Join(cells, "|"))
		}
	}
	return lines, types, results.Close()
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

// table is one result as psql printed it: lines of cells, the names of the columns first.
type table struct {
	lines []string
	// right is 1 for a column whose cells stand to the right, -1 to the left, 0 where
	// every cell fills its column.
	right []int
}

// readTables reads psql's aligned output.
func readTables(text string) (tables []table) {
	var current table
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, "--") && !strings.Contains(line, "+-") && strings.Trim(line, "-") != "":
		case strings.Trim(line, "-+") == "" && line != "":
		case strings.HasPrefix(line, "(") && strings.Contains(line, " row"):
			tables = append(tables, current)
			current = table{}
		case line != "":
			cells := strings.Split(line, "|")
			if current.right == nil {
				current.right = make([]int, len(cells))
			} else {
				for i, cell := range cells {
					switch inner := strings.TrimPrefix(cell, " "); {
					case strings.TrimSpace(cell) == "":
					case strings.HasPrefix(inner, " "):
						current.right[i] = 1
					case strings.HasSuffix(strings.TrimSuffix(inner, " "), " "):
						current.right[i] = -1
					}
				}
			}
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			current.lines = append(current.lines, strings.Join(cells, "|"))
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

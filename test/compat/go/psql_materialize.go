package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

func psqlMaterializeChecks(e env) []check[*psql] {
	expects := func(name, sql string, want ...string) check[*psql] {
		return check[*psql]{name, func(s *psql, ctx context.Context, t *tally) error { return s.expects(ctx, t, sql, want...) }}
	}
	asks := func(name, sql string, want int) check[*psql] {
		return check[*psql]{name, func(s *psql, ctx context.Context, t *tally) error { return s.asks(ctx, t, sql, want) }}
	}
	one := "SELECT version FROM items WHERE id = 1;"
	return []check[*psql]{
		expects("read", one+"\nSELECT version FROM items WHERE id = 2;", "VERSION", "VERSION"),
		asks("200 rows", "SELECT version FROM items;", 200),
		asks("several statements in one query", `SELECT version FROM items WHERE id = 1\; `+e.wait+`\; SELECT version FROM items WHERE id = 2;`, 3),
		expects("NULLs and types", "SELECT note IS NULL, tags, doc, raw, made, flag FROM items WHERE id = 6;", `t|{a6,"b,\"6"}|{"id":6,"n":null}|\x00000006|2024-02-29 12:06:00+00|`),
		expects("variables by \\gset", "SELECT version AS v FROM items WHERE id = 1 \\gset\n\\echo :v", "VERSION"),
		expects("prepared statement", "PREPARE p AS SELECT version FROM items WHERE id = $1;\nEXECUTE p(1);\n"+e.wait+";\nEXECUTE p(2);\nDEALLOCATE p;", "VERSION", "VERSION", "VERSION"),
		expects("error and recovery", "SELECT 1/0;\n"+one+"\nSELECT * FROM no_such_table;\n"+one, "division by zero", "VERSION", "unknown catalog item", "VERSION"),
		expects("failed transaction", "BEGIN;\nSELECT 1/0;\nSELECT 1;\nROLLBACK;\n"+one, "division by zero", "current transaction is aborted", "VERSION"),
		expects("notices", "COMMIT;\n"+one+"\nROLLBACK;\n"+one, "there is no transaction in progress", "VERSION", "there is no transaction in progress", "VERSION"),
		expects("1 MB rows", "SELECT length(body) FROM big;\nSELECT body = repeat('a', 1048576) FROM big WHERE id = 1;\nSELECT version FROM big WHERE id = 3;", "1048576", "1048576", "1048576", "t", "VERSION"),
		expects("own SET of cluster and search_path", "SET search_path = prod, public;\n"+one+"\nSET cluster = prod;\n"+one+"\nSET schema = prod;\n"+one, "VERSION", "VERSION", "VERSION"),
		expects("own SET of other names and back", "SET search_path = public;\nSET cluster = quickstart;\nSHOW search_path;\nSHOW cluster;\n"+one+"\nSET cluster = prod;\nSET search_path = prod;\n"+one,
			"public", "quickstart", "unknown catalog item", "VERSION"),
		expects("reconnect by \\connect", "\\connect\n"+one, "VERSION"),
		{"DISCARD ALL", psqlDiscard},
		{"settings as the server sees them", psqlSettings},
		{"transaction", psqlReadTransaction},
		{"write transaction", psqlWrite},
		{"COPY out by \\copy", psqlCopyOut},
		{"COPY in by \\copy", psqlCopyRows},
		{"COPY in refused by the server", func(s *psql, ctx context.Context, t *tally) error {
			return s.expects(ctx, t, "\\copy sink (run, n) FROM STDIN\nx\tnumber\n\\.\n"+one, "invalid input syntax", "VERSION")
		}},
		{"cancel by an interrupt", psqlCancel},
		{"SUBSCRIBE by a cursor", psqlSubscribe},
		{"SUBSCRIBE by COPY, interrupted", psqlCopySubscribe},
		{"TLS, 1 MB rows", psqlTLS},
		{e.signIn(), psqlSignIn},
	}
}

func psqlDiscard(s *psql, ctx context.Context, t *tally) error {
	one := "SELECT version FROM items WHERE id = 1;"
	first := "VERSION"
	if !s.env.restores {
		first = "unknown catalog item"
	}
	return s.expects(ctx, t, "DISCARD ALL;\n"+one+"\nSET cluster = prod\\; SET search_path = prod;\n"+one, first, "VERSION")
}

// arms reads pairs of lines, a cluster and a search_path each.
func arms(lines []string) (out []string) {
	for i := 0; i+1 < len(lines); i += 2 {
		out = append(out, armOf(lines[i], lines[i+1]))
	}
	return out
}

func psqlSettings(s *psql, ctx context.Context, t *tally) error {
	for range 4 {
		got, err := s.ask(ctx, `SHOW cluster\; SHOW search_path;`)
		if err != nil {
			return err
		}
		if err := same(t, arms(got), 1); err != nil {
			return err
		}
		nap()
	}
	return nil
}

func psqlReadTransaction(s *psql, ctx context.Context, t *tally) error {
	got, err := s.ask(ctx, "BEGIN;\nSELECT version FROM items WHERE id = 1;\n"+s.env.wait+";\nSELECT version FROM items WHERE id = 2;\nSHOW cluster;\nSHOW search_path;\nCOMMIT;")
	if err != nil {
		return err
	}
	if len(got) != 5 {
		return fmt.Errorf("in the transaction: %s", cut(got))
	}
	t.transaction(append(got[:3:3], arms(got[3:])...)...)
	return nil
}

func psqlWrite(s *psql, ctx context.Context, t *tally) error {
	run := s.env.nextRun()
	insert := "INSERT INTO sink (run, n) VALUES ('" + run + "', 1);\n"
	got, err := s.ask(ctx, "BEGIN;\n"+insert+insert+"COMMIT;")
	if err != nil || len(got) > 0 {
		return fmt.Errorf("a write: %w: %s", err, cut(got))
	}
	return s.env.landed(ctx, t, run, 2)
}

func psqlCopyRows(s *psql, ctx context.Context, t *tally) error {
	run := s.env.nextRun()
	got, err := s.ask(ctx, "\\copy sink (run, n, body) FROM STDIN\n"+strings.Repeat(run+"\t3\thello\n", 200)+"\\.")
	if err != nil || len(got) > 0 {
		return fmt.Errorf("a COPY: %w: %s", err, cut(got))
	}
	return s.env.landed(ctx, t, run, 200)
}

func psqlSubscribe(s *psql, ctx context.Context, t *tally) error {
	got, err := s.ask(ctx, "BEGIN;\nDECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news);\n"+
		strings.Repeat("FETCH ALL c WITH (timeout = '120ms');\n", 3)+"COMMIT;")
	if err != nil {
		return err
	}
	var seen []string
	for _, line := range got {
		seen = append(seen, line[strings.LastIndexByte(line, '|')+1:])
	}
	if len(seen) == 0 {
		return errors.New("no changes")
	}
	t.transaction(seen...)
	return nil
}

// psqlCopySubscribe is how Materialize's pages show a stream in psql; it ends by ^C.
// The answer to the first statement says that psql is connected: what it copies it
// prints in one go.
func psqlCopySubscribe(s *psql, ctx context.Context, t *tally) error {
	cmd := s.env.command(ctx, "psql", "-XAtq", "-c", "SELECT version FROM items WHERE id = 1", "-c", "COPY (SUBSCRIBE (SELECT n, version FROM news)) TO STDOUT")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(stdout)
	if lines.Scan() {
		t.exchange(lines.Text())
	}
	stopping := time.AfterFunc(400*time.Millisecond, func() { _ = cmd.Process.Signal(syscall.SIGINT) })
	defer stopping.Stop()
	var seen []string
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		seen = append(seen, fields[len(fields)-1])
	}
	_ = cmd.Wait() // an interrupted psql leaves with 1; what it printed tells more
	if !strings.Contains(errs.String(), "canceling statement due to user request") {
		return fmt.Errorf("psql interrupted after %d changes: %s", len(seen), errs.String())
	}
	t.exchange(seen...)
	if len(seen) == 0 && !s.env.proxied { // there it may have waited at a closed gate all the time
		return errors.New("no changes")
	}
	return nil
}

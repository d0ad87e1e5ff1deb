package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// command is one of libpq's programs, connected by environment as libpq reads it.
func (e env) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "PGHOST="+e.host, "PGPORT="+e.port, "PGDATABASE="+e.database, "PGUSER="+e.user, "PGPASSWORD="+e.password,
		"PGOPTIONS="+e.options, "PGSSLMODE=disable", "PGCONNECT_TIMEOUT=15", "LC_ALL=C.UTF-8")
	cmd.WaitDelay = time.Second
	return cmd
}

func toolVersion(tool string) string {
	out, err := exec.Command(tool, "--version").Output()
	if fields := strings.Fields(string(out)); err == nil && len(fields) > 2 {
		return fields[2]
	}
	return "unknown"
}

// psql is a psql that is fed by a pipe and lives as long as its worker.
type psql struct {
	env    env
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan string
	serial int
}

func runPsql() {
	e := environment()
	work("psql", toolVersion("psql"), psqlChecks(e), func(context.Context) (*psql, error) { return openPsql(e) }, (*psql).close)
}

func openPsql(e env) (*psql, error) {
	s := &psql{env: e, cmd: e.command(context.Background(), "psql", "-XAtq", "-f", "-"), lines: make(chan string, 1000)}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = s.cmd.Stdout
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.lines)
		scan := bufio.NewScanner(out)
		scan.Buffer(nil, 4<<20)
		for scan.Scan() {
			s.lines <- scan.Text()
		}
	}()
	return s, nil
}

func (s *psql) close() {
	_ = s.in.Close()
	for range s.lines { // until psql has ended
	}
	_ = s.cmd.Wait()
}

// ask feeds a script and returns the lines it printed.
func (s *psql) ask(ctx context.Context, script string) ([]string, error) {
	s.serial++
	mark := fmt.Sprintf("-- done %d", s.serial)
	if _, err := io.WriteString(s.in, script+"\n\\echo '"+mark+"'\n"); err != nil {
		return nil, fmt.Errorf("feed psql: %w", err)
	}
	var got []string
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return got, fmt.Errorf("psql ended: %s", strings.Join(got, "\n"))
			}
			if line == mark {
				return got, nil
			}
			got = append(got, line)
		case <-ctx.Done():
			return got, errors.Join(ctx.Err(), s.cmd.Process.Kill())
		}
	}
}

// asks wants every line to be a version, all of one.
func (s *psql) asks(ctx context.Context, t *tally, script string, want int) error {
	got, err := s.ask(ctx, script)
	if err != nil {
		return err
	}
	if len(got) != want {
		return fmt.Errorf("%d lines instead of %d: %s", len(got), want, cut(got))
	}
	return same(t, got, want)
}

// expects wants exactly these lines, in which VERSION stands for a version.
func (s *psql) expects(ctx context.Context, t *tally, script string, want ...string) error {
	got, err := s.ask(ctx, script)
	if err != nil {
		return err
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d lines instead of %d: %s", len(got), len(want), cut(got))
	}
	for i, line := range got {
		switch {
		case want[i] == "VERSION":
			t.exchange(line)
		case !strings.Contains(line, want[i]):
			return fmt.Errorf("%q instead of %q", line, want[i])
		}
	}
	return nil
}

func cut(lines []string) string {
	s := strings.Join(lines, " / ")
	return s[:min(len(s), 400)]
}

func psqlChecks(e env) []check[*psql] {
	script := func(sql string, want int) func(*psql, context.Context, *tally) error {
		return func(s *psql, ctx context.Context, t *tally) error { return s.asks(ctx, t, sql, want) }
	}
	expects := func(sql string, want ...string) func(*psql, context.Context, *tally) error {
		return func(s *psql, ctx context.Context, t *tally) error { return s.expects(ctx, t, sql, want...) }
	}
	if e.materialize {
		return psqlMaterializeChecks(e)
	}
	list := []struct {
		name string
		run  func(*psql, context.Context, *tally) error
	}{
		{"read", expects("SELECT version FROM items WHERE id = 1;\nSELECT version FROM items WHERE id = 2;", "VERSION", "VERSION")},
		{"200 rows", script("SELECT version FROM items;", 200)},
		{"several statements in one query", script(`SELECT version FROM items WHERE id = 1\; SELECT version FROM items WHERE id = 2;`, 2)},
		{"NULLs and types", expects(`SELECT note IS NULL, tags, doc, raw, made, flag FROM items WHERE id = 6;`, `t|{a6,"b,\"6"}|{"n": null, "id": 6}|\x00000006|2024-02-29 12:06:00+00|`)},
		{"variables by \\gset", expects("SELECT version AS v FROM items WHERE id = 1 \\gset\n\\echo :v", "VERSION")},
		{"description by \\gdesc", expects("SELECT version, id FROM items \\gdesc", "version|text", "id|integer")},
		{"cursor by FETCH_COUNT", script("\\set FETCH_COUNT 20\nSELECT version FROM items;\n\\unset FETCH_COUNT", 200)},
		{"prepared statement", expects("PREPARE p(int) AS SELECT version FROM items WHERE id = $1;\nEXECUTE p(1);\nSELECT pg_sleep(0.06) IS NULL;\nEXECUTE p(2);\nDEALLOCATE p;",
			"VERSION", "f", "VERSION")},
		{"error and recovery", expects("SELECT 1/0;\nSELECT version FROM items WHERE id = 1;\nSELECT * FROM no_such_table;\nSELECT version FROM items WHERE id = 1;",
			"division by zero", "VERSION", "does not exist", "LINE 1", "^", "VERSION")},
		{"failed transaction", expects("BEGIN;\nSELECT 1/0;\nSELECT 1;\nROLLBACK;\nSELECT version FROM items WHERE id = 1;",
			"division by zero", "current transaction is aborted", "VERSION")},
		{"savepoints by ON_ERROR_ROLLBACK", expects("\\set ON_ERROR_ROLLBACK on\nBEGIN;\nSELECT version FROM items WHERE id = 1;\nSELECT 1/0;\nSELECT version FROM items WHERE id = 1;\nCOMMIT;\n\\unset ON_ERROR_ROLLBACK",
			"VERSION", "division by zero", "VERSION")},
		{"notices", expects("SELECT speak(2);", "said by", "said by", "VERSION")},
		{"1 MB rows", expects("SELECT length(body) FROM big;\nSELECT md5(body) = md5(repeat(chr(96 + id), 1048576)) FROM big WHERE id = 1;\nSELECT version FROM big WHERE id = 3;", "1048576", "1048576", "1048576", "t", "VERSION")},
		{"DISCARD ALL", expects("DISCARD ALL;\nSELECT version FROM items WHERE id = 1;", "VERSION")},
		{"own SET search_path", expects("SET search_path = prod, public;\nSELECT version FROM items WHERE id = 1;\nRESET search_path;\nSELECT version FROM items WHERE id = 1;", "VERSION", "VERSION")},
		{"reconnect by \\connect", expects("\\connect\nSELECT version FROM items WHERE id = 1;", "VERSION")},
	}
	var out []check[*psql]
	for _, l := range list {
		out = append(out, check[*psql]{l.name, l.run})
	}
	return append(out,
		check[*psql]{"transaction", psqlTransaction},
		check[*psql]{"COPY out by \\copy", psqlCopyOut},
		check[*psql]{"COPY in by \\copy", psqlCopyIn},
		check[*psql]{"COPY in refused by the server", psqlCopyBad},
		check[*psql]{"cancel by an interrupt", psqlCancel},
		check[*psql]{"TLS, 1 MB rows", psqlTLS},
		check[*psql]{"sign in with trust, password, md5, scram", psqlSignIn},
	)
}

func psqlTransaction(s *psql, ctx context.Context, t *tally) error {
	got, err := s.ask(ctx, "BEGIN;\nSELECT version FROM items WHERE id = 1;\nSELECT version FROM items, pg_sleep(0.04) WHERE id = 2;\n"+
		"INSERT INTO sink (run, n) VALUES ('"+s.env.run+"', 1) RETURNING version;\nSELECT version FROM items, pg_sleep(0.04) WHERE id = 3;\nCOMMIT;")
	if err != nil {
		return err
	}
	if len(got) != 4 {
		return errors.New(cut(got))
	}
	t.transaction(got...)
	return nil
}

func psqlCopyOut(s *psql, ctx context.Context, t *tally) error {
	return s.asks(ctx, t, "\\copy (SELECT version FROM items) TO STDOUT", 200)
}

func psqlCopyIn(s *psql, ctx context.Context, t *tally) error {
	rows := strings.Repeat(s.env.run+"\t3\thello\n", 300)
	return s.asks(ctx, t, "BEGIN;\n\\copy sink (run, n, body) FROM STDIN\n"+rows+"\\.\n"+
		"SELECT version FROM sink WHERE n = 3 AND xmin = pg_current_xact_id()::xid;\nCOMMIT;", 300)
}

func psqlCopyBad(s *psql, ctx context.Context, t *tally) error {
	return s.expects(ctx, t, "\\copy sink (run, n) FROM STDIN\nx\tnumber\n\\.\nSELECT version FROM items WHERE id = 1;", "invalid input syntax", "CONTEXT", "VERSION")
}

func psqlCancel(s *psql, ctx context.Context, t *tally) error {
	cmd := s.env.command(ctx, "psql", "-XAtq", "-c", "SELECT version FROM items WHERE id = 1", "-c", s.env.sleep)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	answer, readErr := bufio.NewReader(stdout).ReadString('\n') // of the first statement: now the second is sent
	began := time.Now()
	timer := time.AfterFunc(80*time.Millisecond, func() { _ = cmd.Process.Signal(syscall.SIGINT) })
	defer timer.Stop()
	_ = cmd.Wait() // an interrupted psql leaves with 1; what it printed tells more
	if took := time.Since(began); took > 6*time.Second {
		return fmt.Errorf("the cancel took %s", took)
	}
	if readErr != nil || !strings.Contains(errs.String(), "canceling statement due to user request") {
		return fmt.Errorf("psql interrupted: %w: %q, %s", readErr, answer, errs.String())
	}
	t.exchange(strings.TrimSpace(answer))
	return nil
}

// once runs one psql for one script.
func (e env) once(ctx context.Context, script string, more ...string) ([]string, error) {
	cmd := e.command(ctx, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-")
	cmd.Env = append(cmd.Env, more...)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("psql: %w: %s", err, bytes.TrimSpace(out[:min(len(out), 2000)]))
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), nil
}

func psqlTLS(s *psql, ctx context.Context, t *tally) error {
	got, err := s.env.once(ctx, "SELECT version || '|' || body FROM big;", "PGSSLMODE=require")
	if err != nil {
		return err
	}
	var seen []string
	for _, line := range got {
		v, body, _ := strings.Cut(line, "|")
		if len(body) != 1<<20 {
			return fmt.Errorf("a row of %d bytes", len(body))
		}
		seen = append(seen, v)
	}
	return same(t, seen, 3)
}

func psqlSignIn(s *psql, ctx context.Context, t *tally) error {
	e := s.env
	for _, user := range e.roles {
		got, err := e.once(ctx, "SELECT version FROM items WHERE id = 1;", "PGUSER="+user)
		if err != nil {
			return err
		}
		t.exchange(got...)
		if _, err := e.once(ctx, "SELECT 1;", "PGUSER="+user, "PGPASSWORD=wrong"); user != "compat_trust" && (err == nil || !strings.Contains(err.Error(), e.refused)) {
			return fmt.Errorf("%s with a wrong password: %w", user, err)
		}
	}
	return nil
}

// The scripts of pgbench. A transaction that sees two versions divides by zero,
// which pgbench reports as an error.
const benchRead = `\set id random(1, 200)
SELECT version = 'new' AS a FROM items WHERE id = :id;
INSERT INTO sink (run, n) VALUES ('%s', 0);
`

const benchTransaction = `\set id random(1, 200)
BEGIN;
SELECT (version = 'new')::int AS a FROM items WHERE id = :id \gset
\sleep 20 ms
SELECT 1 / (1 - abs((version = 'new')::int - :a)) AS b FROM items WHERE id = :id \gset
INSERT INTO sink (run, n) VALUES ('%s', 1);
END;
`

// benchMaterialize only reads in its transaction, and takes an answer of neither
// version, which one of a session moved by half is, for an error too.
const benchMaterialize = `\set id random(1, 200)
BEGIN;
SELECT CASE version WHEN 'old' THEN 0 WHEN 'new' THEN 1 ELSE 1 / 0 END AS a FROM items WHERE id = :id \gset
\sleep 20 ms
SELECT 1 / (1 - abs(CASE version WHEN 'old' THEN 0 WHEN 'new' THEN 1 ELSE 1 / 0 END - :a)) AS b FROM items WHERE id = :id \gset
END;
INSERT INTO sink (run, n) VALUES ('%s', 1);
`

const benchPipeline = `\set n random(100, 2000000000)
\startpipeline
INSERT INTO sink (run, n) VALUES ('%s', :n);
SELECT version FROM items WHERE id = 1;
INSERT INTO sink (run, n) VALUES ('%s', :n);
INSERT INTO sink (run, n) VALUES ('%s', :n);
\endpipeline
`

var processed = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)

// runPgbench gives pgbench the whole time and counts afterwards what it left.
func runPgbench(mode string) {
	e := environment()
	t := &tally{byName: map[string]*checked{}, result: result{Driver: "pgbench " + mode, Version: toolVersion("pgbench")}}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	t.checked(mode+" protocol, 6 clients", e.pgbench(ctx, t, mode))
	t.checked("what the transactions left", e.left(ctx, t))
	t.print()
}

func (e env) pgbench(ctx context.Context, t *tally, mode string) error {
	dir, err := os.MkdirTemp("", "compat-pgbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	scripts := map[string]string{"read.sql": benchRead, "transaction.sql": benchTransaction}
	if mode != "simple" {
		scripts["pipeline.sql"] = benchPipeline
	}
	if e.materialize {
		scripts["transaction.sql"] = benchMaterialize
		if mode != "simple" { // a pipeline of writes does not read there
			scripts["pipeline.sql"] = strings.Replace(benchPipeline, "SELECT version FROM items WHERE id = 1;\n", "", 1)
		}
	}
	args := []string{"-n", "-M", mode, "-c", "6", "-j", "2"}
	for name, text := range scripts {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "%s", e.run)), 0o600); err != nil {
			return err
		}
		args = append(args, "-f", path)
	}
	seconds, err := strconv.ParseFloat(os.Getenv("COMPAT_SECONDS"), 64)
	if err != nil {
		return err
	}
	cmd := e.command(ctx, "pgbench", append(args, "-T", strconv.Itoa(max(1, int(seconds))))...)
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("aborted in")) || bytes.Contains(out, []byte("error:")) {
		return fmt.Errorf("pgbench: %w: %s", err, bytes.TrimSpace(out[max(0, len(out)-1500):]))
	}
	found := processed.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("pgbench says nothing of transactions: %s", out)
	}
	t.result.Transactions, err = strconv.Atoi(string(found[1]))
	return err
}

// left counts the rows of both versions on a session that belongs to neither,
// and the pipelines whose rows are in both.
func (e env) left(ctx context.Context, t *tally) error {
	got, err := e.once(ctx, strings.ReplaceAll(`SELECT count(*) FROM prod.sink WHERE run = '%s';
SELECT count(*) FROM prod_deploy.sink WHERE run = '%s';
SELECT count(DISTINCT o.n) FROM prod.sink o JOIN prod_deploy.sink n USING (run, n) WHERE run = '%s' AND n >= 100;
`, "%s", e.run), "PGOPTIONS="+e.outside)
	if err != nil {
		return err
	}
	for i, into := range []*int{&t.result.Old, &t.result.New, &t.result.Mixed} {
		if *into, err = strconv.Atoi(got[i]); err != nil {
			return err
		}
	}
	t.result.Exchanges = t.result.Old + t.result.New
	return nil
}

package app_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/pgtest"
)

var started *pgtest.Server

// postgres is one server for all tests of the package.
var postgres = sync.OnceValues(func() (*pgtest.Server, error) {
	s, err := pgtest.Start()
	if err != nil {
		return nil, err
	}
	started = s
	return s, twoSchemas(s)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if started != nil {
		if err := started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// twoSchemas builds both versions: every row says which one it is of.
func twoSchemas(s *pgtest.Server) error {
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	conn, err := pgx.Connect(ctx, pgtest.DSN(s.Addr(), "postgres"))
	if err != nil {
		return err
	}
	defer hangUp(conn)
	for schema, version := range map[string]string{"prod": "old", "prod_deploy": "new"} {
		if _, err := conn.Exec(ctx, fmt.Sprintf(`
			CREATE SCHEMA %[1]s;
			CREATE TABLE %[1]s.answer AS SELECT '%[2]s'::text AS version, k FROM generate_series(1, 100) AS k;
			CREATE TABLE %[1]s.pgbench_accounts AS SELECT aid, 1 AS bid, 0 AS abalance FROM generate_series(1, 100000) AS aid;
			CREATE TABLE %[1]s.pgbench_branches AS SELECT 1 AS bid, 0 AS bbalance;
			ALTER TABLE %[1]s.pgbench_accounts ADD PRIMARY KEY (aid)`, schema, version)); err != nil {
			return err
		}
	}
	return nil
}

const postgresSettings = `
listen:   {address: "127.0.0.1:0"}
upstream: {address: "%s", kind: postgres, tls: {mode: disable}}
control:  {user: postgres, database: postgres}
deployments:
  - name: shop
    database: postgres
    schemas:  [{live: prod, deploy: prod_deploy}]
    clusters: []
    rollout:  {ready: {poll: 100ms}}
admin:    {address: "127.0.0.1:0"}
observe:  {address: "127.0.0.1:0"}
state:    {dir: "%s"}
shutdown: {drain: 100ms}
`

// onPostgres is the program in front of the private PostgreSQL.
func onPostgres(t *testing.T) (*program, *pgtest.Server) {
	t.Helper()
	s := pgtest.Need(t, postgres)
	p := start(t, configureText(t, fmt.Sprintf(postgresSettings, s.Addr(), filepath.Join(t.TempDir(), "state"))))
	p.controlled()
	return p, s
}

// TestPostgresWeightMovesLiveSessions: a weight set by hand moves its share of
// the sessions there are, a greater one only adds to them, and zero brings all
// of them back.
func TestPostgresWeightMovesLiveSessions(t *testing.T) {
	p, _ := onPostgres(t)
	const n = 200
	conns := make([]*pgx.Conn, n)
	for i := range conns {
		conns[i] = connect(t, pgtest.DSN(p.Proxy, "postgres", "search_path=prod"))
	}
	if on := onNew(t, conns); len(on) != 0 {
		t.Fatalf("%d sessions are on the new version before there is a canary", len(on))
	}

	p.weigh(30)
	p.settled()
	thirty := onNew(t, conns)
	// A fair hash puts 60 of 200 there; 5 standard deviations are 32.
	if len(thirty) < 28 || len(thirty) > 92 {
		t.Errorf("30%% of %d sessions are %d", n, len(thirty))
	}
	shown(t, p, len(thirty), n)

	p.weigh(60)
	p.settled()
	sixty := onNew(t, conns)
	if len(sixty) < 85 || len(sixty) > 155 {
		t.Errorf("60%% of %d sessions are %d", n, len(sixty))
	}
	for i := range thirty {
		if !sixty[i] {
			t.Errorf("session %d left the canary when the weight rose", i)
		}
	}

	p.close()
	if on := onNew(t, conns); len(on) != 0 {
		t.Errorf("%d sessions stayed on the new version at 0%%", len(on))
	}
	m := scrape(t, p)
	m.bounded(t, "shop")
	m.want(t, "mzcanary_exchanges_total", 0, "class=arm")
	m.want(t, "mzcanary_exchanges_total", 0, "class=other")
	m.want(t, "mzcanary_exchanges_total", 0, "class=server")
	for _, outcome := range []string{"refused", "missing", "broken"} {
		m.want(t, "mzcanary_retargets_total", 0, "outcome="+outcome)
	}
}

// close takes the canary away again; the next test begins without marks.
func (p *program) close() {
	p.t.Helper()
	p.weigh(0)
	p.await("back on production", func(s admin.Status) bool {
		return s.Phase == deploy.PhaseRolledBack && s.Sessions[1] == 0 && !s.Marked
	})
}

// settled waits until every session is where it should be.
func (p *program) settled() admin.Status {
	p.t.Helper()
	return p.await("settled", func(s admin.Status) bool { return s.Sessions == s.Wanted && s.Wanted[1] > 0 })
}

// onNew asks every session, and gives the numbers of those on the new version.
func onNew(t *testing.T, conns []*pgx.Conn) map[int]bool {
	t.Helper()
	on := map[int]bool{}
	for i, conn := range conns {
		switch v := mustVersion(t, conn); v {
		case "new":
			on[i] = true
		case "old":
		default:
			t.Fatalf("session %d is on %q", i, v)
		}
	}
	return on
}

// shown: status, sessions and metrics agree with what the sessions said.
func shown(t *testing.T, p *program, canary, all int) {
	t.Helper()
	s, err := p.client.Status(within(t), "shop")
	if err != nil || s.Weight != 3000 || !s.Hand {
		t.Errorf("status: weight %s, by hand %t, %v", s.Weight, s.Hand, err)
	}
	list, err := p.client.Sessions(within(t), "shop", "canary")
	if err != nil || len(list) != canary {
		t.Errorf("sessions lists %d on the canary (%v), %d say they are", len(list), err, canary)
	}
	m := scrape(t, p)
	m.want(t, "mzcanary_weight_wanted_ratio", 0.3)
	m.want(t, "mzcanary_sessions", float64(canary), "arm=canary")
	m.want(t, "mzcanary_sessions", float64(all), "deployment=shop")
	m.want(t, "mzcanary_session_share_ratio", float64(canary)/float64(all))
}

// tool runs a client program against an address.
func tool(t *testing.T, addr, stdin, name string, args ...string) (out string, err error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		pgtest.Missing(t, "%s is not installed; install PostgreSQL's client programs to run this test", name)
	}
	host, port, _ := net.SplitHostPort(addr)
	ctx, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=postgres", "PGDATABASE=postgres", "PGSSLMODE=prefer", "PGOPTIONS=-c search_path=prod")
	cmd.Stdin = strings.NewReader(stdin)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err = cmd.Run()
	return both.String(), err
}

const psqlScript = `
SELECT version, count(*) FROM answer GROUP BY 1;
\d answer
\dn prod*
BEGIN; CREATE TEMP TABLE t (k int, note text); COMMIT;
\copy t from stdin
1	one
2	two
\.
\copy (select * from t order by k) to stdout
SELECT * FROM nowhere;
PREPARE p AS SELECT k FROM answer WHERE k = $1; EXECUTE p (7);
\set FETCH_COUNT 3
SELECT k FROM answer ORDER BY k LIMIT 10;
DO $$ BEGIN RAISE NOTICE 'noticed'; END $$;
LISTEN shop; NOTIFY shop, 'payload';
SHOW search_path;
DISCARD ALL;
SHOW search_path;
`

// TestPostgresPsqlSeesNoProxy compares what psql prints with and without it.
func TestPostgresPsqlSeesNoProxy(t *testing.T) {
	p, s := onPostgres(t)
	args := []string{"-X", "-A", "-v", "VERBOSITY=verbose", "-v", "SHOW_CONTEXT=never", "-f", "-"}
	plain, err := tool(t, s.Addr(), psqlScript, "psql", args...)
	if err != nil {
		t.Fatalf("%v: %s", err, plain)
	}
	proxied, err := tool(t, p.Proxy, psqlScript, "psql", args...)
	if err != nil {
		t.Fatalf("%v: %s", err, proxied)
	}
	if plain, proxied = anonymous(plain), anonymous(proxied); plain != proxied {
		t.Errorf("psql said directly:\n%s\nthrough the proxy:\n%s", plain, proxied)
	}
	says(t, "psql", proxied, "old|100", "42P01", "1\tone", "noticed", `"shop"`, "payload")
}

// anonymous takes out what differs from one session to the next.
func anonymous(out string) string {
	if before, after, ok := strings.Cut(out, "server process with PID "); ok {
		_, after, _ = strings.Cut(after, ".")
		return before + after
	}
	return out
}

// TestPostgresPgbench builds pgbench's tables through the proxy (by COPY), writes,
// and reads in its three modes while the weight goes up and down.
func TestPostgresPgbench(t *testing.T) {
	p, _ := onPostgres(t)
	if out, err := tool(t, p.Proxy, "", "pgbench", "-i", "-q", "-s", "1"); err != nil {
		t.Fatalf("-i: %v: %s", err, out)
	}
	out, err := tool(t, p.Proxy, "", "pgbench", "-n", "-c", "4", "-t", "25", "-M", "prepared")
	if err != nil {
		t.Fatalf("TPC-B: %v: %s", err, out)
	}
	says(t, "pgbench", out, "number of transactions actually processed: 100/100", "number of failed transactions: 0")
	p.weigh(10)
	for _, mode := range []string{"simple", "extended", "prepared"} {
		var out string
		var err error
		finished := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			defer close(finished)
			out, err = tool(t, p.Proxy, "", "pgbench", "-n", "-S", "-M", mode, "-c", "8", "-j", "2", "-t", "500", "-s", "1")
		})
		for i := 0; !closed(finished); i++ {
			p.weigh([]int{90, 10}[i%2])
		}
		wg.Wait()
		if err != nil {
			t.Fatalf("-M %s: %v: %s", mode, err, out)
		}
		says(t, "pgbench -M "+mode, out, "number of transactions actually processed: 4000/4000", "number of failed transactions: 0")
	}
	m := scrape(t, p)
	m.some(t, "mzcanary_exchanges_total", "arm=canary", "class=ok")
	m.some(t, "mzcanary_exchanges_total", "arm=stable", "class=ok")
	m.some(t, "mzcanary_retargets_total", "outcome=retargeted")
	for _, class := range []string{"server", "arm", "other", "connect", "lost"} {
		m.want(t, "mzcanary_exchanges_total", 0, "class="+class)
	}
	p.close()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestPostgresRollout is the whole journey on a real server that has schemas
// only: ramp, swap by renames, window, cleanup, under clients that never stop.
func TestPostgresRollout(t *testing.T) {
	s := pgtest.Need(t, postgres)
	direct := connect(t, pgtest.DSN(s.Addr(), "postgres"))
	for schema, version := range map[string]string{"rel": "old", "rel_next": "new"} {
		if _, err := direct.Exec(within(t), fmt.Sprintf("CREATE SCHEMA %[1]s; CREATE TABLE %[1]s.answer AS SELECT '%[2]s'::text AS version, 1 AS k", schema, version)); err != nil {
			t.Fatal(err)
		}
	}
	text := fmt.Sprintf(postgresSettings, s.Addr(), filepath.Join(t.TempDir(), "state"))
	text = strings.Replace(text, "live: prod, deploy: prod_deploy", "live: rel, deploy: rel_next", 1)
	p := start(t, configureText(t, text,
		"deployments[0].rollout.plan={steps: [{weight: 50%, bake: 200ms}, {promote: {}}]}", "deployments[0].rollout.minimum={units: 1, exchanges: 5}",
		"deployments[0].rollout.ready.consecutive=2", "deployments[0].window.for=200ms", "deployments[0].drain.for=5s"))
	p.controlled()
	t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), patience)
		defer done()
		if _, err := direct.Exec(ctx, "DROP SCHEMA IF EXISTS rel CASCADE; DROP SCHEMA IF EXISTS rel_next CASCADE"); err != nil {
			t.Error(err)
		}
	})
	clients := askersWith(t, pgtest.DSN(p.Proxy, "postgres", "search_path=rel"), crowd)
	p.ends("shop", p.begin("shop"), deploy.ExitDone)
	onVersion(t, clients(), "new")
	var left []string
	if err := direct.QueryRow(within(t), "SELECT array_agg(nspname::text ORDER BY 1) FROM pg_namespace WHERE nspname LIKE 'rel%'").Scan(&left); err != nil || len(left) != 1 || left[0] != "rel" {
		t.Errorf("schemas left: %v, %v", left, err)
	}
	m := scrape(t, p)
	m.want(t, "mzcanary_exchanges_total", 0, "class=arm")
	m.some(t, "mzcanary_exchanges_total", "arm=canary", "class=ok")
}

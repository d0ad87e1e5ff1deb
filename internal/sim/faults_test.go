package sim

import (
	"context"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
)

// connectMemory logs in over an in-memory connection, so that a synctest bubble can own all of it.
func connectMemory(t *testing.T, s *Server, user, options string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig("host=memory database=materialize sslmode=disable user=" + user)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["options"] = options
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"memory"}, nil }
	cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		mine, theirs := net.Pipe()
		serving.Go(func() { s.ServeConn(ctx, theirs) })
		return mine, nil
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close(ctx) // the session ends either way
		cancel()
		serving.Wait()
	})
	return conn
}

// scalar reads one value as text, "NULL" for none.
func scalar(t *testing.T, c *pgx.Conn, query string) string {
	t.Helper()
	res, err := c.PgConn().Exec(t.Context(), query).ReadAll()
	if err != nil {
		return codeOf(err)
	}
	if len(res[0].Rows) == 0 {
		return "no row"
	}
	var words []string
	for _, v := range res[0].Rows[0] {
		if v == nil {
			words = append(words, "NULL")
			continue
		}
		words = append(words, string(v))
	}
	return strings.Join(words, " ")
}

func TestSelectFaultsFollowContents(t *testing.T) {
	t.Parallel()
	s, addr := prepareVersions(t, Options{})
	if err := s.Faults().FailSelects(SelectFault{Schema: "prod_deploy", Every: 2}); err != nil {
		t.Fatal(err)
	}
	if err := s.Faults().FailSelects(SelectFault{Object: "prod_deploy.nothing"}); err == nil {
		t.Error("a fault on an unknown object was taken")
	}
	c := connectPGX(t, addr, "options='-c cluster=quickstart'")
	ask := func(schema string) string { return scalar(t, c, "SELECT version FROM "+schema+".answer WHERE k = 1") }
	for i, want := range []string{"new", "XX000", "new", "XX000"} {
		if got := ask("prod_deploy"); got != want {
			t.Errorf("statement %d: %s, want %s", i, got, want)
		}
		if got := ask("prod"); got != "old" {
			t.Errorf("the other version: %s", got)
		}
	}
	if err := s.ExecAs(t.Context(), "materialize", swapBoth); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"new", "XX000"} {
		if got := ask("prod"); got != want {
			t.Errorf("after the swap, statement %d: %s, want %s", i, got, want)
		}
	}
	s.Faults().ClearSelectFaults()
	if got := ask("prod") + ask("prod"); got != "newnew" {
		t.Errorf("after the end of the fault: %s", got)
	}
}

func TestCommitFaults(t *testing.T) {
	t.Parallel()
	s, addr := prepareVersions(t, Options{})
	version := func() string {
		return scalar(t, connectPGX(t, addr, "options='-c search_path=prod -c cluster=prod'"), "SELECT version FROM answer WHERE k = 1")
	}
	s.Faults().FailDDLCommits(2)
	op := connectPGX(t, addr, "user=materialize")
	for i, want := range []string{"40001", "40001", "<nil>"} {
		if _, err := op.Exec(t.Context(), swapBoth); codeOf(err) != want {
			t.Errorf("swap %d: %v, want %s", i, err, want)
		}
	}
	if got := version(); got != "new" {
		t.Errorf("after two failures and a success: %s", got)
	}
	for when, want := range map[CommitCut]string{CutBeforeApply: "same", CutAfterApply: "other"} {
		before := version()
		s.Faults().CutAtCommit(1, when)
		op := connectPGX(t, addr, "user=materialize")
		if _, err := op.Exec(t.Context(), swapBoth); err == nil {
			t.Errorf("cut %d: the COMMIT was answered", when)
		}
		if !op.IsClosed() {
			t.Errorf("cut %d: the connection lives", when)
		}
		if after := version(); (after == before) != (want == "same") {
			t.Errorf("cut %d: %s before and %s after", when, before, after)
		}
	}
}

func TestRestartKeepsIDs(t *testing.T) {
	t.Parallel()
	s, addr := prepareVersions(t, Options{})
	c := connectPGX(t, addr, "user=materialize")
	const ids = "SELECT string_agg(id, ' ' ORDER BY name) FROM mz_schemas WHERE name LIKE 'prod%'"
	before := scalar(t, c, ids)
	if _, err := c.Exec(t.Context(), "BEGIN; ALTER SCHEMA prod SWAP WITH prod_deploy"); err != nil {
		t.Fatal(err)
	}
	s.Faults().Restart()
	if _, err := c.Exec(t.Context(), "COMMIT"); err == nil {
		t.Error("the connection survived the restart")
	}
	if after := scalar(t, connectPGX(t, addr, "user=materialize"), ids); after != before {
		t.Errorf("ids %q, then %q", before, after)
	}
}

func TestLoginAndReadOnlyFaults(t *testing.T) {
	t.Parallel()
	s, addr := prepareVersions(t, Options{})
	c := connectPGX(t, addr, "user=materialize")
	s.Faults().RefuseLogins("53000", "creating connection would violate max_connections limit (desired: 7, limit: 2, current: 6)")
	host, port, _ := strings.Cut(addr, ":")
	if _, err := pgx.Connect(t.Context(), "user=app sslmode=disable host="+host+" port="+port); codeOf(err) != "53000" {
		t.Errorf("login: %v", err)
	}
	s.Faults().RefuseLogins("", "")
	connectPGX(t, addr, "")
	s.Faults().SetReadOnly(true)
	for _, q := range []string{swapBoth, "INSERT INTO base VALUES (5, 'x')", "CREATE SCHEMA s", "DELETE FROM base"} {
		if _, err := c.Exec(t.Context(), q); codeOf(err) != "25006" {
			t.Errorf("%s: %v", q, err)
		}
		if _, err := c.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
	}
	if got := scalar(t, c, "SELECT count(*) FROM base"); got != "3" {
		t.Errorf("reads: %s", got)
	}
	s.Faults().SetReadOnly(false)
	if _, err := c.Exec(t.Context(), swapBoth); err != nil {
		t.Error(err)
	}
}

// TestHydration watches a new dataflow: no row, then hydrated=false, then true; a read waits until then.
func TestHydration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{HydrationTime: 10 * time.Second})
		err := s.ExecAs(t.Context(), "materialize", `CREATE CLUSTER c (SIZE 'x'); CREATE TABLE t (a int); INSERT INTO t VALUES (1);
			CREATE MATERIALIZED VIEW m IN CLUSTER c AS SELECT a FROM t`)
		if err != nil {
			t.Fatal(err)
		}
		c := connectMemory(t, s, "materialize", "-c cluster=c")
		reader := connectMemory(t, s, "materialize", "-c cluster=c")
		const status = "SELECT h.replica_id IS NOT NULL, h.hydrated FROM mz_internal.mz_hydration_statuses h JOIN mz_objects o ON o.id = h.object_id WHERE o.name = 'm'"
		start := time.Now()
		var answered time.Duration
		var reading sync.WaitGroup
		reading.Go(func() {
			if got := scalar(t, reader, "SELECT a FROM m"); got != "1" {
				t.Errorf("read: %s", got)
			}
			answered = time.Since(start)
		})
		for _, step := range []struct {
			at   time.Duration
			want string
		}{{0, "f f"}, {2 * time.Second, "t f"}, {9 * time.Second, "t f"}, {11 * time.Second, "t t"}} {
			time.Sleep(step.at - time.Since(start))
			if got := scalar(t, c, status); got != step.want {
				t.Errorf("after %v: %s, want %s", step.at, got, step.want)
			}
		}
		reading.Wait()
		if answered != 10*time.Second {
			t.Errorf("the read was answered after %v", answered)
		}
		if err := s.Faults().LoseHydration("c", false); err != nil {
			t.Fatal(err)
		}
		if got := scalar(t, c, status); got != "t f" {
			t.Errorf("lost: %s", got)
		}
		if got := scalar(t, reader, "SELECT a FROM m"); got != "1" {
			t.Errorf("read with lost hydration: %s", got)
		}
		if err := s.Faults().RestoreHydration("c"); err != nil {
			t.Fatal(err)
		}
		if got := scalar(t, c, status); got != "t t" {
			t.Errorf("restored: %s", got)
		}
	})
}

// TestLagAndReplicas follows lag, a hung and a dead replica through what the catalog says.
func TestLagAndReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		err := s.ExecAs(t.Context(), "materialize", `CREATE CLUSTER c (SIZE 'x'); CREATE TABLE t (a int);
			CREATE MATERIALIZED VIEW m IN CLUSTER c AS SELECT a FROM t; CREATE MATERIALIZED VIEW fixed IN CLUSTER c AS SELECT 1 AS a`)
		if err != nil {
			t.Fatal(err)
		}
		c := connectMemory(t, s, "materialize", "")
		local := func(name string) string {
			return scalar(t, c, "SELECT l.local_lag FROM mz_internal.mz_materialization_lag l JOIN mz_objects o ON o.id = l.object_id WHERE o.name = '"+name+"'")
		}
		const wallclock = "SELECT w.lag FROM mz_internal.mz_wallclock_global_lag w JOIN mz_objects o ON o.id = w.object_id WHERE o.name = 'm'"
		const replica = "SELECT s.status, s.reason FROM mz_internal.mz_cluster_replica_statuses s JOIN mz_cluster_replicas r ON r.id = s.replica_id JOIN mz_clusters c ON c.id = r.cluster_id WHERE c.name = 'c'"
		expect := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		expect("lag of a new object", local("m"), "00:00:00")
		expect("lag of a constant", local("fixed"), "no row")
		expect("wallclock lag of a new object", scalar(t, c, wallclock), "no row")
		time.Sleep(2 * time.Minute)
		expect("wallclock lag", scalar(t, c, wallclock), "00:00:01")
		must(t, s.Faults().SetLag("c", 7*time.Second))
		expect("lag", local("m"), "00:00:07")
		must(t, s.Faults().SetLag("c", -1))
		expect("unreadable", local("m"), "NULL")
		must(t, s.Faults().SetLag("c", 0))
		must(t, s.Faults().HangReplica("c", "r1"))
		time.Sleep(30 * time.Second)
		expect("lag of a hung replica", local("m"), "00:00:30")
		expect("status of a hung replica", scalar(t, c, replica), "online NULL")
		must(t, s.Faults().StopReplica("c", "r1", "oom-killed"))
		expect("status of a dead replica", scalar(t, c, replica), "offline oom-killed")
		must(t, s.Faults().StartReplica("c", "r1"))
		expect("status again", scalar(t, c, replica), "online NULL")
		must(t, s.Faults().AddOOM("c", "r1", 2))
		expect("history", scalar(t, c, "SELECT count(*) FROM mz_internal.mz_cluster_replica_status_history WHERE reason = 'oom-killed'"), "3")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDelaysAndLatency measures what a statement waits, on the bubble's clock.
func TestDelaysAndLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		must(t, s.ExecAs(t.Context(), "materialize", "CREATE TABLE t (a int)"))
		c := connectMemory(t, s, "materialize", "")
		took := func(query string) time.Duration {
			start := time.Now()
			if _, err := c.Exec(t.Context(), query); err != nil {
				t.Error(err)
			}
			return time.Since(start)
		}
		s.Faults().Delay(regexp.MustCompile(`SELECT 1`), 3*time.Second)
		if d := took("SELECT 1"); d != 3*time.Second {
			t.Errorf("delayed by %v", d)
		}
		if d := took("SELECT 2"); d != 0 {
			t.Errorf("another statement was delayed by %v", d)
		}
		s.Faults().ClearDelays()
		must(t, s.Faults().SetLatency("quickstart", 80*time.Millisecond))
		if d := took("SELECT * FROM t"); d != 80*time.Millisecond {
			t.Errorf("latency %v", d)
		}
		if d := took("SELECT 1"); d != 0 {
			t.Errorf("a constant had latency %v", d)
		}
	})
}

func TestUpgradeChangesTheVersion(t *testing.T) {
	t.Parallel()
	s, addr := prepareVersions(t, Options{Version: "v26.4.0", Auth: Auth{Kind: AuthCleartext, Passwords: map[string]string{"materialize": "first"}}})
	ask := func(password string) string {
		c := connectPGX(t, addr, "user=materialize password="+password)
		var version string
		if err := c.QueryRow(t.Context(), "SELECT mz_version()").Scan(&version); err != nil {
			t.Fatal(err)
		}
		return version
	}
	if got := ask("first"); got != "v26.4.0" {
		t.Errorf("before: %s", got)
	}
	s.Faults().Upgrade("v26.33.0")
	s.Faults().SetPassword("materialize", "second")
	if got := ask("second"); got != "v26.33.0" {
		t.Errorf("after: %s", got)
	}
}

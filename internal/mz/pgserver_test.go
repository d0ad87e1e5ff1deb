//go:build unix

package mz

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
	"mzcanary/internal/pgtest"
)

// private starts a PostgreSQL for the tests of this package when the first asks, and
// leaves it in started for TestMain to stop.
var (
	private = sync.OnceValues(func() (*pgtest.Server, error) {
		s, err := pgtest.Start()
		if err == nil {
			started <- s
		}
		return s, err
	})
	started = make(chan *pgtest.Server, 1)
)

func TestMain(m *testing.M) {
	code := m.Run()
	select {
	case s := <-started:
		if err := s.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	default: // nobody asked
	}
	os.Exit(code)
}

// pgServer is the private PostgreSQL as the tests see it.
type pgServer struct {
	t                       *testing.T
	address, user, database string
}

func postgresServer(t *testing.T) *pgServer {
	t.Helper()
	s := pgtest.Need(t, private)
	return &pgServer{t: t, address: s.Addr(), user: "postgres", database: "postgres"}
}

// sql runs statements as the superuser.
func (p *pgServer) sql(text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, "postgres://"+p.user+"@"+p.address+"/"+p.database+"?sslmode=disable")
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, text).ReadAll(); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
}

// pair makes a live and a deploy schema with a random suffix, and their deployment.
func (p *pgServer) pair() deploy.Spec {
	suffix := randomSuffix()
	live, next := "prod_"+suffix, "prod_"+suffix+"_deploy"
	p.sql(strings.NewReplacer("LIVE", live, "NEXT", next).Replace(`
		CREATE SCHEMA LIVE; CREATE SCHEMA NEXT;
		CREATE TABLE LIVE.t (k int, v text); CREATE TABLE NEXT.t (k int, v text);
		CREATE VIEW LIVE.answer AS SELECT 'old' AS version, k FROM LIVE.t;
		CREATE VIEW NEXT.answer AS SELECT 'new' AS version, k FROM NEXT.t;
		CREATE MATERIALIZED VIEW NEXT.total AS SELECT count(*) AS n FROM NEXT.t`))
	p.t.Cleanup(func() {
		p.sql("DO $$ DECLARE s text; BEGIN FOR s IN SELECT nspname FROM pg_namespace WHERE nspname LIKE '%" + suffix +
			"%' LOOP EXECUTE format('DROP SCHEMA %I CASCADE', s); END LOOP; END $$")
	})
	return deploy.Spec{Name: "shop", Database: p.database, Schemas: addPair(deploy.Spec{}.Schemas, live, next)}
}

func (p *pgServer) warehouse(user string) *Warehouse {
	w := New(Config{Kind: Postgres, Address: p.address, User: user, Database: p.database})
	p.t.Cleanup(func() { w.Close() })
	return w
}

func refsOf(spec deploy.Spec) []deploy.Ref {
	var refs []deploy.Ref
	for _, p := range spec.Schemas {
		refs = append(refs, deploy.Ref{Kind: deploy.KindSchema, Name: p.Live}, deploy.Ref{Kind: deploy.KindSchema, Name: p.Deploy})
	}
	for _, p := range spec.Clusters {
		refs = append(refs, deploy.Ref{Kind: deploy.KindCluster, Name: p.Live}, deploy.Ref{Kind: deploy.KindCluster, Name: p.Deploy})
	}
	return refs
}

func identified(t *testing.T, w *Warehouse, spec deploy.Spec) []deploy.Ref {
	t.Helper()
	refs, err := w.Identify(within(t, 20*time.Second), spec.Database, refsOf(spec))
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

func TestPostgresPreflight(t *testing.T) {
	p := postgresServer(t)
	w := p.warehouse(p.user)
	spec := p.pair()
	findings := func(w *Warehouse, spec deploy.Spec) []string {
		t.Helper()
		found, err := w.Preflight(within(t, 20*time.Second), spec, "r1")
		if err != nil {
			t.Fatal(err)
		}
		return shown(found)
	}
	if got := findings(w, spec); len(got) != 0 {
		t.Errorf("nothing to find, found %q", got)
	}
	bad := spec
	bad.Schemas = addPair(bad.Schemas, "nope", spec.Schemas[0].Deploy)
	want(t, findings(w, bad), "P01 refuse schema nope", "P02 refuse schema "+spec.Schemas[0].Deploy)
	elsewhere := spec
	elsewhere.Database = "no_such_database"
	want(t, findings(w, elsewhere), "P01 refuse database no_such_database")

	role := "plain_" + randomSuffix()
	p.sql("CREATE ROLE " + role + " LOGIN; REVOKE CREATE ON DATABASE " + p.database + " FROM PUBLIC")
	t.Cleanup(func() {
		p.sql("REASSIGN OWNED BY " + role + " TO " + p.user + "; DROP OWNED BY " + role + "; DROP ROLE " + role)
	})
	plain := p.warehouse(role)
	live, next := spec.Schemas[0].Live, spec.Schemas[0].Deploy
	want(t, findings(plain, spec), "P03 refuse database "+p.database, "P03 refuse schema "+live, "P03 refuse schema "+next)
	p.sql("GRANT CREATE ON DATABASE " + p.database + " TO " + role + "; ALTER SCHEMA " + live + " OWNER TO " + role + "; ALTER SCHEMA " + next + " OWNER TO " + role)
	want(t, findings(plain, spec))

	p.sql("CREATE SCHEMA " + next + "_retired_r0")
	left, err := w.Preflight(within(t, 20*time.Second), spec, "r1")
	if err != nil || len(left) != 1 || left[0].Code != "P15" || left[0].Severity != deploy.Warn {
		t.Fatalf("with something left over: %q, %v", shown(left), err)
	}
	p.sql(left[0].Remedy[0])
	want(t, findings(w, spec))

	refs := identified(t, w, spec)
	mark := []deploy.Mark{{Ref: refs[0], Rollout: "r0", Phase: "window", Spec: "shop", Side: "new"}}
	p.sql("COMMENT ON SCHEMA " + live + " IS 'the shop''s'")
	if err := w.Mark(within(t, 20*time.Second), spec.Database, mark); err != nil {
		t.Fatal(err)
	}
	want(t, findings(w, spec), "P14 refuse schema "+live)
	marks, err := w.Marks(within(t, 20*time.Second), spec)
	if err != nil || len(marks) != 1 || marks[0] != mark[0] {
		t.Errorf("marks %+v, %v", marks, err)
	}
	if err := w.Unmark(within(t, 20*time.Second), spec.Database, refs); err != nil {
		t.Fatal(err)
	}
	want(t, findings(w, spec))
	all, err := w.comments(within(t, 20*time.Second), spec.Database, false)
	if err != nil || len(all) == 0 || !containsComment(all, live, "the shop's") {
		t.Errorf("the user's text was not restored: %+v, %v", all, err)
	}
}

func TestPostgresSwapFenceAndBack(t *testing.T) {
	p := postgresServer(t)
	w := p.warehouse(p.user)
	spec := p.pair()
	before := identified(t, w, spec)
	live, next := spec.Schemas[0].Live, spec.Schemas[0].Deploy
	retired := next + "_retired_r1"
	run := func(want deploy.Outcome, statements ...string) {
		t.Helper()
		tx, err := w.Prepare(within(t, 20*time.Second), statements)
		if err != nil {
			t.Fatal(err)
		}
		if now := identified(t, w, spec); len(now) != 2 || now[0] != before[0] {
			t.Errorf("visible before COMMIT: %+v", now)
		}
		if got, err := tx.Commit(within(t, 20*time.Second)); got != want || err != nil {
			t.Fatalf("%s, %v", got, err)
		}
	}
	run(deploy.Done,
		`ALTER SCHEMA `+quoteIdent(spec.Database)+`.`+quoteIdent(live)+` SWAP WITH `+quoteIdent(next),
		`ALTER SCHEMA `+quoteIdent(next)+` RENAME TO `+quoteIdent(retired))
	after, err := w.Identify(within(t, 20*time.Second), spec.Database, append(refsOf(spec), deploy.Ref{Kind: deploy.KindSchema, Name: retired}))
	if err != nil || len(after) != 2 || after[0].ID != before[1].ID || after[1].ID != before[0].ID {
		t.Fatalf("after the swap %+v, before %+v, %v", after, before, err)
	}
	if err := w.Drop(within(t, 20*time.Second), spec.Database, deploy.Ref{Kind: deploy.KindSchema, Name: retired, ID: before[1].ID}); err == nil {
		t.Fatal("a schema with another id was dropped")
	} else {
		mustBe(t, err, deploy.ErrChanged)
	}
	old := deploy.Ref{Kind: deploy.KindSchema, Name: retired, ID: before[0].ID}
	for range 2 { // the second time it is gone, which is what was wanted
		if err := w.Drop(within(t, 20*time.Second), spec.Database, old); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPostgresConflictAndCut(t *testing.T) {
	p := postgresServer(t)
	w := p.warehouse(p.user)
	spec := p.pair()
	live, next := spec.Schemas[0].Live, spec.Schemas[0].Deploy
	swap := []string{`ALTER SCHEMA ` + quoteIdent(live) + ` SWAP WITH ` + quoteIdent(next)}
	tx, err := w.Prepare(within(t, 20*time.Second), swap)
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := w.BackendGone(within(t, 20*time.Second), tx.Backend()); err != nil || gone {
		t.Errorf("our open transaction is gone: %v, %v", gone, err)
	}
	w.cut()
	got, err := tx.Commit(within(t, 20*time.Second))
	if got != deploy.NotDone || err == nil {
		t.Fatalf("%s, %v", got, err)
	}
	for gone := false; !gone; {
		if gone, err = w.BackendGone(within(t, 20*time.Second), tx.Backend()); err != nil {
			t.Fatal(err)
		}
	}
	again, err := w.Prepare(within(t, 20*time.Second), swap)
	if err != nil {
		t.Fatal(err)
	}
	reused := deploy.Backend{Number: again.Backend().Number, Session: tx.Backend().Session}
	if gone, err := w.BackendGone(within(t, 20*time.Second), reused); err != nil || !gone || tx.Backend().Session == "" {
		t.Errorf("the lost session %v, whose number a session of ours has now, is gone: %v, %v", tx.Backend(), gone, err)
	}
	if err := again.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	ref := identified(t, w, spec)[0]
	if err := w.Barrier(within(t, 20*time.Second), spec.Database, ref); err != nil {
		t.Fatal(err)
	}
	_, err = w.Prepare(within(t, 20*time.Second), []string{`ALTER CLUSTER "a" SWAP WITH "b"`})
	mustBe(t, err, ErrUnsupported)
}

// The server ends our session before COMMIT: known without asking anybody.
func TestPostgresSessionEndedBeforeCommit(t *testing.T) {
	p := postgresServer(t)
	w := p.warehouse(p.user)
	w.aliveLook = 20 * time.Second // however slow this machine delivers the end
	spec := p.pair()
	before := identified(t, w, spec)
	tx, err := w.Prepare(within(t, 20*time.Second), []string{`ALTER SCHEMA ` + quoteIdent(spec.Schemas[0].Live) + ` SWAP WITH ` + quoteIdent(spec.Schemas[0].Deploy)})
	if err != nil {
		t.Fatal(err)
	}
	p.sql(fmt.Sprintf("SELECT pg_terminate_backend(%d, 10000)", tx.Backend().Number))
	got, err := tx.Commit(within(t, 20*time.Second))
	if got != deploy.NotDone || err == nil || !strings.Contains(err.Error(), "57P01") {
		t.Fatalf("%s, %v", got, err)
	}
	if now := identified(t, w, spec); !slices.Equal(now, before) {
		t.Errorf("names moved: %v", now)
	}
}

// Somebody else renames the same schema first: we lose, and may try again.
func TestPostgresLosesARace(t *testing.T) {
	p := postgresServer(t)
	w := p.warehouse(p.user)
	spec := p.pair()
	live := spec.Schemas[0].Live
	ctx := within(t, 30*time.Second)
	other, err := pgconn.Connect(ctx, "postgres://"+p.user+"@"+p.address+"/"+p.database+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	say := func(text string) []*pgconn.Result {
		t.Helper()
		results, err := other.Exec(ctx, text).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return results
	}
	say("BEGIN; ALTER SCHEMA " + live + " RENAME TO " + live + "_theirs")
	failed := make(chan error, 1)
	go func() {
		_, err := w.Prepare(ctx, []string{`ALTER SCHEMA ` + quoteIdent(live) + ` RENAME TO ` + quoteIdent(live+"_ours")})
		failed <- err
	}()
	for len(say("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")[0].Rows) == 0 {
		// until the other side waits for us
	}
	say("COMMIT")
	mustBe(t, <-failed, deploy.ErrConflict)
}

func TestPostgresReadiness(t *testing.T) {
	p := postgresServer(t)
	w := p.warehouse(p.user)
	spec := p.pair()
	opts := deploy.ReadyOptions{Probe: 10 * time.Second}
	ask := func() deploy.Readiness {
		t.Helper()
		r, err := w.Readiness(within(t, 20*time.Second), spec, opts)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ask(); !r.Ready || r.Total != 3 || r.Hydrated != 3 {
		t.Errorf("%+v", r)
	}
	next := spec.Schemas[0].Deploy
	p.sql("REFRESH MATERIALIZED VIEW " + next + ".total WITH NO DATA")
	if r := ask(); r.Ready || !strings.Contains(r.Why, "REFRESH") {
		t.Errorf("%+v", r)
	}
	p.sql("REFRESH MATERIALIZED VIEW " + next + ".total; CREATE VIEW " + next + ".broken AS SELECT 1/(k-k) AS x FROM " + next + ".t; INSERT INTO " + next + ".t VALUES (1)")
	if r := ask(); r.Ready || !strings.Contains(r.Why, "division by zero") {
		t.Errorf("%+v", r)
	}
	p.sql("DROP VIEW " + next + ".broken; CREATE VIEW " + next + ".slow AS SELECT pg_sleep(60)::text")
	opts.Probe = 200 * time.Millisecond
	if r := ask(); r.Ready || !strings.Contains(r.Why, "no answer within") {
		t.Errorf("%+v", r)
	}
}

func TestPostgresDependents(t *testing.T) {
	p := postgresServer(t)
	w := p.warehouse(p.user)
	spec := p.pair()
	live := spec.Schemas[0].Live
	refs := identified(t, w, spec)[:1]
	ask := func() (got []string) {
		t.Helper()
		list, err := w.Dependents(within(t, 20*time.Second), spec.Database, refs)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			got = append(got, d.Kind+" "+strings.ReplaceAll(d.Name, live, "LIVE"))
		}
		return got
	}
	want(t, ask())
	// What a table has besides its columns goes with it.
	p.sql(strings.ReplaceAll("CREATE SEQUENCE LIVE.ids; ALTER TABLE LIVE.t ALTER k SET DEFAULT nextval('LIVE.ids'); CREATE POLICY seen ON LIVE.t USING (true);"+
		"CREATE FUNCTION LIVE.kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER kept BEFORE UPDATE ON LIVE.t FOR EACH ROW EXECUTE FUNCTION LIVE.kept()", "LIVE", live))
	want(t, ask())
	reports := live + "_reports"
	p.sql("CREATE SCHEMA " + reports + "; ALTER TABLE " + live + ".t ADD PRIMARY KEY (k); CREATE VIEW " + reports + ".daily AS SELECT * FROM " + live + ".answer;" +
		"CREATE VIEW " + reports + ".deep AS SELECT * FROM " + reports + ".daily; CREATE TABLE " + reports + ".child (k int REFERENCES " + live + ".t)")
	want(t, ask(), "table constraint child_k_fkey on LIVE_reports.child", "view LIVE_reports.daily", "view LIVE_reports.deep")
	for ctx := within(t, 20*time.Second); ; { // the helpers' sessions leave after their end
		list, err := w.Foreign(ctx, nil)
		if err != nil {
			t.Fatalf("our own sessions were counted as foreign to the end: %v, %v", list, err)
		}
		if list[p.user] == 0 {
			break
		}
	}
	info, err := w.Server(within(t, 20*time.Second))
	if err != nil || info.Started.IsZero() || info.Version == "" || info.ReadOnly {
		t.Errorf("%+v, %v", info, err)
	}
}

// Others on the old version are sessions that hold locks on its relations; a DROP would
// wait for them.
func TestPostgresLocks(t *testing.T) {
	p := postgresServer(t)
	spec := p.pair()
	live := spec.Schemas[0].Live
	plain := "plain_" + randomSuffix()
	p.sql("CREATE ROLE " + plain + " LOGIN")
	t.Cleanup(func() { p.sql("DROP ROLE " + plain) })
	ctx := within(t, 30*time.Second)
	other, err := pgconn.Connect(ctx, "postgres://"+p.user+"@"+p.address+"/"+p.database+"?sslmode=disable&application_name=dash")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(ctx)
	do := func(text string) {
		t.Helper()
		if _, err := other.Exec(ctx, text).ReadAll(); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	for _, role := range []string{p.user, plain} { // a plain role sees less of others, and the same sessions
		w := p.warehouse(role)
		refs := identified(t, w, spec)
		ask := func(refs []deploy.Ref, ours ...uint32) []deploy.Dependent {
			t.Helper()
			list, err := w.Subscriptions(ctx, refs, ours)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		if got := ask(refs); len(got) != 0 {
			t.Errorf("before there is one: %v", got)
		}
		do("BEGIN; SELECT * FROM " + live + ".answer")
		got := ask(refs[:1])
		if len(got) != 1 || got[0].Kind != "session" || got[0].Name != p.user || !strings.Contains(got[0].Reason, "(dash) holds locks on "+live+".answer, "+live+".t") {
			t.Errorf("as %s: %+v", role, got)
		}
		if got := ask(refs[:1], other.PID()); len(got) != 0 {
			t.Errorf("our own are counted: %+v", got)
		}
		if got := ask(refs[1:]); len(got) != 0 {
			t.Errorf("of the other schema: %+v", got)
		}
		if got := ask(nil); len(got) != 0 {
			t.Errorf("of nothing: %+v", got)
		}
		if got, err := w.Clusters(ctx, refs); err != nil || got != nil {
			t.Errorf("clusters %v, %v", got, err)
		}
		do("ROLLBACK")
	}
}

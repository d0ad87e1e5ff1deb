package app_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/pgtest"
)

// estate is a database of a test's own on the private PostgreSQL, with two pairs that
// read each other, one of them with names that need quotes. The builder owns them and
// the database; the control role is neither a superuser nor, at first, a member of the
// builder.
type estate struct {
	t                          *testing.T
	server                     *pgtest.Server
	database, builder, control string
	super                      *pgx.Conn // in the database
	cfg                        *config.Config
	ids                        map[string]string // of the pairs' schemas, by the names before the rollout
}

var lastEstate atomic.Uint32

// versionOnPostgres is one version: the home and the shop, which reads the home. It has
// what PostgreSQL keeps apart from a schema's relations: indexes, defaults, triggers and
// policies.
const versionOnPostgres = `
CREATE SCHEMA HOME;
CREATE SEQUENCE HOME.ids;
CREATE TABLE HOME.answer (version text DEFAULT 'VERSION', k int PRIMARY KEY DEFAULT nextval('HOME.ids'));
INSERT INTO HOME.answer DEFAULT VALUES;
CREATE FUNCTION HOME.kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER kept BEFORE UPDATE ON HOME.answer FOR EACH ROW EXECUTE FUNCTION HOME.kept();
CREATE POLICY seen ON HOME.answer USING (true);
CREATE SCHEMA SHOP;
CREATE TABLE SHOP.orders (id int PRIMARY KEY DEFAULT nextval('HOME.ids'), k int REFERENCES HOME.answer);
CREATE TRIGGER kept BEFORE UPDATE ON SHOP.orders FOR EACH ROW EXECUTE FUNCTION HOME.kept();
CREATE VIEW SHOP.total AS SELECT a.version, count(o.id) AS n FROM HOME.answer a LEFT JOIN SHOP.orders o USING (k) GROUP BY 1;
`

// dropsAreNoted writes down every schema that a DROP names, whoever drops it.
const dropsAreNoted = `
CREATE SCHEMA witness;
CREATE TABLE witness.dropped (n serial, name text);
CREATE FUNCTION witness.note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO witness.dropped (name) SELECT object_name FROM pg_event_trigger_dropped_objects() WHERE object_type = 'schema' AND original;
END $$;
CREATE EVENT TRIGGER noted ON sql_drop EXECUTE FUNCTION witness.note();
`

const estateSettings = `
listen:   {address: "127.0.0.1:0"}
upstream: {address: "%s", kind: postgres, tls: {mode: disable}}
control:  {user: %s, database: %s}
deployments:
  - name: shop
    database: %[3]s
    schemas:  [{live: home, deploy: home_next}, {live: "shop-eu", deploy: "shop-eu_next"}]
    clusters: []
    rollout:
      plan: {steps: [{weight: 50%%, approve: {within: 1h}}, {promote: {}}]}
      ready: {poll: 50ms, consecutive: 2}
    window: {for: 1h}
    drain:  {for: 5s}
admin:    {address: "127.0.0.1:0"}
observe:  {address: "127.0.0.1:0"}
state:    {dir: "%[4]s"}
shutdown: {drain: 100ms}
`

// newEstate builds both versions. more is said to the server by a superuser, with the
// roles' and the database's names for BUILDER, CONTROL and DATABASE.
func newEstate(t *testing.T, more string) *estate {
	t.Helper()
	n := lastEstate.Add(1)
	e := &estate{t: t, server: pgtest.Need(t, postgres), database: fmt.Sprintf("estate_%d", n), builder: fmt.Sprintf("builder_%d", n), control: fmt.Sprintf("control_%d", n)}
	outside := connect(t, pgtest.DSN(e.server.Addr(), "postgres"))
	say(t, outside, e.named("CREATE ROLE CONTROL LOGIN; CREATE ROLE BUILDER"), e.named("CREATE DATABASE DATABASE OWNER BUILDER"))
	t.Cleanup(func() {
		ctx, done := context.WithTimeout(context.Background(), patience)
		defer done()
		for _, text := range []string{"DROP DATABASE DATABASE WITH (FORCE)", "DROP ROLE BUILDER", "DROP ROLE CONTROL"} {
			if _, err := outside.Exec(ctx, e.named(text)); err != nil {
				t.Errorf("%s: %v", e.named(text), err)
			}
		}
		hangUp(outside)
	})
	e.super = connect(t, pgtest.DSN(e.server.Addr(), "postgres", "dbname="+e.database))
	say(t, e.super, e.named("SET ROLE BUILDER"))
	for suffix, version := range map[string]string{"": "old", "_next": "new"} {
		say(t, e.super, strings.NewReplacer("HOME", "home"+suffix, "SHOP", `"shop-eu`+suffix+`"`, "VERSION", version).Replace(versionOnPostgres))
	}
	say(t, e.super, "RESET ROLE", dropsAreNoted, e.named(more))
	e.ids = e.schemas()
	e.cfg = configureText(t, fmt.Sprintf(estateSettings, e.server.Addr(), e.control, e.database, filepath.Join(t.TempDir(), "state")))
	return e
}

// mayDoAll gives the control role what it needs.
const mayDoAll = "GRANT BUILDER TO CONTROL;"

func (e *estate) named(text string) string {
	return strings.NewReplacer("BUILDER", e.builder, "CONTROL", e.control, "DATABASE DATABASE", "DATABASE "+e.database).Replace(text)
}

func say(t *testing.T, conn *pgx.Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := conn.PgConn().Exec(within(t), text).ReadAll(); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// ask reads one value as the superuser.
func ask[T any](e *estate, query string, args ...any) (v T) {
	e.t.Helper()
	if err := e.super.QueryRow(within(e.t), query, args...).Scan(&v); err != nil {
		e.t.Fatalf("%s: %v", query, err)
	}
	return v
}

// run is the program in front of the estate, under control.
func (e *estate) run() *program {
	e.t.Helper()
	p := start(e.t, e.cfg)
	p.controlled()
	return p
}

// again is the program started anew from its journal.
func (e *estate) again(p *program) *program {
	e.t.Helper()
	if err := p.stop(); err != nil {
		e.t.Fatalf("the program ended badly: %v", err)
	}
	return e.run()
}

// schemas are the ids of the schemas of the pairs, whatever their names are by now.
func (e *estate) schemas() map[string]string {
	e.t.Helper()
	rows, err := e.super.Query(within(e.t), "SELECT nspname::text, oid::text FROM pg_namespace WHERE nspname ~ '^(home|shop)'")
	if err != nil {
		e.t.Fatal(err)
	}
	ids := map[string]string{}
	var name, id string
	if _, err := pgx.ForEachRow(rows, []any{&name, &id}, func() error { ids[name] = id; return nil }); err != nil {
		e.t.Fatal(err)
	}
	return ids
}

// nameOf is what a schema is called now that had this name before the rollout; "" when
// it is gone.
func (e *estate) nameOf(was string) string {
	e.t.Helper()
	for name, id := range e.schemas() {
		if id == e.ids[was] {
			return name
		}
	}
	return ""
}

// stands wants exactly these schemas to be there: by their name now, which name they had
// before the rollout.
func (e *estate) stands(want map[string]string) {
	e.t.Helper()
	got := e.schemas()
	for name, was := range want {
		if got[name] != e.ids[was] {
			e.t.Errorf("%s is not what was %s; there are %v, there were %v", name, was, got, e.ids)
		}
	}
	if len(got) != len(want) {
		e.t.Errorf("there are %v, want %v", got, want)
	}
}

// What stands when the new version is production, and when the old one is, and nothing
// is left of the other.
var (
	onlyNew = map[string]string{"home": "home_next", "shop-eu": "shop-eu_next"}
	onlyOld = map[string]string{"home": "home", "shop-eu": "shop-eu"}
)

// dropped are the schemas that were dropped, in order.
func (e *estate) dropped(want ...string) {
	e.t.Helper()
	got := ask[[]string](e, "SELECT coalesce(array_agg(name ORDER BY n), '{}') FROM witness.dropped")
	if !slices.Equal(got, want) {
		e.t.Errorf("dropped %q, want %q", got, want)
	}
}

// unmarked wants no trace of a rollout on what is there.
func (e *estate) unmarked() {
	e.t.Helper()
	if left := ask[[]string](e, "SELECT coalesce(array_agg(nspname || ': ' || obj_description(oid, 'pg_namespace')), '{}') FROM pg_namespace WHERE nspname ~ '^(home|shop)' AND obj_description(oid, 'pg_namespace') <> ''"); len(left) != 0 {
		e.t.Errorf("marks are left: %q", left)
	}
}

// answers wants both pairs to be of one version, as an application sees them.
func (e *estate) answers(p *program, want string) {
	e.t.Helper()
	app := connect(e.t, e.dsn(p))
	defer hangUp(app)
	var home, shop string
	if err := app.QueryRow(within(e.t), "SELECT answer.version, total.version FROM answer, total").Scan(&home, &shop); err != nil || home != want || shop != want {
		e.t.Errorf("the pairs answer %q and %q (%v), want %q", home, shop, err, want)
	}
}

// dsn is how an application reaches the estate through the program.
func (e *estate) dsn(p *program) string {
	return pgtest.DSN(p.Proxy, "postgres", "dbname="+e.database, `search_path=home,"shop-eu"`)
}

// refusedTo asks for a verb that must be refused.
func (p *program) refusedTo(verb deploy.Verb, req admin.Request) *deploy.Refusal {
	p.t.Helper()
	req.Who = "test"
	_, err := p.client.Do(within(p.t), "shop", verb, req)
	return refusal(p.t, err)
}

// beginFixing starts a rollout that gives missing rights, and gives its id.
func (p *program) beginFixing() string {
	p.t.Helper()
	s, err := p.client.Start(within(p.t), "shop", admin.StartRequest{Who: "test", Fix: true})
	if err != nil {
		p.t.Fatal(err)
	}
	return s.Rollout
}

// asking waits until the rollout asks for an approval, with half of the sessions on the
// new version.
func (p *program) asking() admin.Status {
	p.t.Helper()
	return p.await("asking for an approval", func(s admin.Status) bool { return s.Asked != nil && s.Weight == 5000 })
}

// swapped approves and waits until the window is open.
func (p *program) swapped() {
	p.t.Helper()
	p.do(deploy.VerbApprove)
	p.await("in the window", func(s admin.Status) bool {
		return s.Phase == deploy.PhaseWindow && s.Events[len(s.Events)-1].What == "confirmed by ids"
	})
}

// over waits until a rollout has put everything away.
func (p *program) over(phase deploy.Phase) admin.Status {
	p.t.Helper()
	return p.await(string(phase), func(s admin.Status) bool { return s.Phase == phase && !s.Marked })
}

// blocked waits until the rollout stands still for a person.
func (p *program) blocked(cause deploy.Cause) admin.Status {
	p.t.Helper()
	return p.await("blocked", func(s admin.Status) bool {
		return s.Phase == deploy.PhaseBlocked && s.Stop != nil && s.Stop.Cause == cause && s.Recovering == ""
	})
}

package app_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/sim"
)

// strategy is a way to exchange versions, on a server built by sql. Each query
// answers with the version that its name stands for.
type strategy struct {
	sql     string
	pairs   string // of the deployment, in YAML
	queries []string
	// next builds the next version under the deploy names, as version %s.
	next string
}

const twoClusters = `
CREATE CLUSTER compute%[1]s (SIZE = 'bootstrap');
CREATE CLUSTER serve%[1]s (SIZE = 'bootstrap');
CREATE SCHEMA core%[1]s;
CREATE SCHEMA mart%[1]s;
CREATE MATERIALIZED VIEW core%[1]s.facts IN CLUSTER compute%[1]s AS SELECT '%[2]s'::text AS version, k FROM public.base;
CREATE VIEW mart%[1]s.answer AS SELECT version, k FROM core%[1]s.facts;
CREATE INDEX answer_idx IN CLUSTER serve%[1]s ON mart%[1]s.answer (k);
GRANT USAGE ON SCHEMA core%[1]s, mart%[1]s TO PUBLIC;
GRANT USAGE ON CLUSTER compute%[1]s, serve%[1]s TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA core%[1]s TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA mart%[1]s TO PUBLIC;
`

const singleObjects = `
CREATE VIEW app.bids%[1]s AS SELECT '%[2]s'::text AS version, k FROM public.base;
CREATE MATERIALIZED VIEW app.sums%[1]s IN CLUSTER shared AS SELECT version, k FROM app.bids%[1]s;
CREATE INDEX sums_idx%[1]s IN CLUSTER shared ON app.sums%[1]s (k);
CREATE TABLE app.codes%[1]s (version text);
INSERT INTO app.codes%[1]s VALUES ('%[2]s');
GRANT SELECT ON app.bids%[1]s, app.sums%[1]s, app.codes%[1]s TO PUBLIC;
`

const sharedHome = `
CREATE CLUSTER shared (SIZE = 'bootstrap');
CREATE SCHEMA app;
GRANT USAGE, CREATE ON SCHEMA app TO PUBLIC;
GRANT USAGE, CREATE ON CLUSTER shared TO PUBLIC;
`

const objectPairs = `
    objects:
      - {kind: view, live: app.bids, deploy: app.bids_next}
      - {kind: materialized_view, live: app.sums, deploy: app.sums_next}
      - {kind: index, live: app.sums_idx, deploy: app.sums_idx_next}
      - {kind: table, live: app.codes, deploy: app.codes_next}
`

func strategies() map[string]strategy {
	several := strategy{
		sql:     fmt.Sprintf(twoClusters, "", "1"),
		pairs:   "\n    schemas: [{live: core, deploy: core_next}, {live: mart, deploy: mart_next}]\n    clusters: [{live: compute, deploy: compute_next}, {live: serve, deploy: serve_next}]\n",
		queries: []string{"SELECT version FROM core.facts LIMIT 1", "SELECT version FROM mart.answer WHERE k = 1"},
		next:    strings.ReplaceAll(twoClusters, "%[1]s", "_next"),
	}
	objects := strategy{
		sql:     sharedHome + fmt.Sprintf(singleObjects, "", "1"),
		pairs:   objectPairs,
		queries: []string{"SELECT version FROM app.bids LIMIT 1", "SELECT version FROM app.sums LIMIT 1", "SELECT version FROM app.codes"},
		next:    strings.ReplaceAll(singleObjects, "%[1]s", "_next"),
	}
	mixed := strategy{
		sql:     several.sql + sharedHome + fmt.Sprintf(singleObjects, "", "1"),
		pairs:   several.pairs + objectPairs,
		queries: append(append([]string{}, several.queries...), objects.queries...),
		next:    several.next + objects.next,
	}
	return map[string]strategy{"several schemas and clusters": several, "single objects": objects, "swaps and renames in one": mixed}
}

const strategySettings = `
listen:   {address: "127.0.0.1:0"}
upstream: {address: "%s", tls: {mode: disable}, dial_timeout: 2s}
control:  {user: materialize}
deployments:
  - name: shop
%s
    rollout:
      plan: all-at-once
      ready: {max_lag: 5s, within: 1m, poll: 50ms, consecutive: 2, probe: 2s}
    promote: {method: %s, fence: %t}
    window:  {for: 1h}
    drain:   {for: 5s}
admin:    {address: "127.0.0.1:0"}
observe:  {address: "127.0.0.1:0"}
state:    {dir: "%s"}
shutdown: {drain: 100ms}
`

// TestStrategies goes forward, back and forward again in every way to exchange
// versions, cleans up, and goes forward once more with the next one.
func TestStrategies(t *testing.T) {
	for name, st := range strategies() {
		for _, method := range []config.Method{config.MethodSwap, config.MethodRename} {
			for _, fence := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, fence %t", name, method, fence), func(t *testing.T) {
					server := sim.New(sim.Options{})
					addr := serveSim(t, server, "127.0.0.1:0")
					if err := server.Exec(within(t), baseSQL+"GRANT CREATECLUSTER ON SYSTEM TO materialize;"); err != nil {
						t.Fatal(err)
					}
					x := &exchange{t: t, addr: addr, strategy: st}
					x.exec(st.sql)
					x.build("2")
					x.program = start(t, configureText(t, fmt.Sprintf(strategySettings, addr, st.pairs, method, fence, filepath.Join(t.TempDir(), "state"))))
					x.controlled()
					x.forwardBackForward()
				})
			}
		}
	}
}

type exchange struct {
	*program
	t        *testing.T
	addr     string // of the server
	strategy strategy
}

// exec builds as the control role, which then owns everything.
func (x *exchange) exec(sql string) {
	x.t.Helper()
	conn := connect(x.t, dsn(x.addr, "user=materialize"))
	for statement := range strings.SplitSeq(sql, ";\n") {
		if _, err := conn.Exec(within(x.t), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			x.t.Fatalf("%s: %v", statement, err)
		}
	}
	hangUp(conn)
}

// build puts a version under the deploy names.
func (x *exchange) build(version string) {
	x.t.Helper()
	x.exec(strings.ReplaceAll(x.strategy.next, "%[2]s", version))
}

// want asks every live name for its version.
func (x *exchange) want(version string) {
	x.t.Helper()
	conn := connect(x.t, dsn(x.Proxy))
	for _, q := range x.strategy.queries {
		var got string
		if err := conn.QueryRow(within(x.t), q).Scan(&got); err != nil || got != version {
			x.t.Fatalf("%s answers %q, %v; want %q", q, got, err, version)
		}
	}
	hangUp(conn)
}

// promote starts a rollout and waits for its swap.
func (x *exchange) promote() {
	x.t.Helper()
	s, err := x.client.Start(within(x.t), "shop", admin.StartRequest{Who: "test"})
	if err != nil {
		x.t.Fatal(err)
	}
	if s, exit, err := x.client.Wait(within(x.t), "shop", s.Rollout, deploy.UntilPromoted); err != nil || exit != deploy.ExitDone {
		x.t.Fatalf("exit %d in %s (%v): %s %+v", exit, s.Phase, err, s.Sentence, s.Findings)
	}
	x.await("confirmed", func(s admin.Status) bool {
		return s.Phase == deploy.PhaseWindow && s.Events[len(s.Events)-1].What == "confirmed by ids"
	})
}

func (x *exchange) do(verb deploy.Verb, until func(admin.Status) bool) {
	x.t.Helper()
	if _, err := x.client.Do(within(x.t), "shop", verb, admin.Request{Who: "test"}); err != nil {
		x.t.Fatal(err)
	}
	x.await(string(verb), until)
}

func (x *exchange) forwardBackForward() {
	x.t.Helper()
	over := func(p deploy.Phase) func(admin.Status) bool {
		return func(s admin.Status) bool { return s.Phase == p && !s.Marked }
	}
	x.want("1")
	x.promote()
	x.want("2")
	x.do(deploy.VerbRollback, over(deploy.PhaseRolledBack))
	x.want("1")
	x.promote()
	x.want("2")
	x.do(deploy.VerbCleanup, over(deploy.PhaseDone))
	x.want("2")
	x.build("3") // every deploy name is free again
	x.promote()
	x.want("3")
	x.do(deploy.VerbCleanup, over(deploy.PhaseDone))
	x.want("3")
}

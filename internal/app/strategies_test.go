package app_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
					var sent statements
					server := sim.New(sim.Options{OnStatement: sent.note})
					addr := serveSim(t, server, "127.0.0.1:0")
					if err := server.Exec(within(t), baseSQL+"GRANT CREATECLUSTER ON SYSTEM TO materialize;"); err != nil {
						t.Fatal(err)
					}
					x := &exchange{t: t, addr: addr, strategy: st, sent: &sent}
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
	sent     *statements
	expected []string // by the dry runs, in the order in which it must have been sent
}

// statements are those of the controller that change names or drop something, as the
// server saw them; what a ROLLBACK undid is not among them.
type statements struct {
	mu   sync.Mutex
	done []string
	open []string
	in   bool
}

func (s *statements) note(application, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch verb, _, _ := strings.Cut(text, " "); {
	case application != "mzcanary":
	case verb == "BEGIN":
		s.open, s.in = nil, true
	case verb == "ROLLBACK":
		s.open, s.in = nil, false
	case verb == "COMMIT":
		s.done, s.open, s.in = append(s.done, s.open...), nil, false
	case verb != "ALTER" && verb != "DROP":
	case s.in:
		s.open = append(s.open, text)
	default:
		s.done = append(s.done, text)
	}
}

// announced takes what a dry run says for what must be sent by the rollout that it
// announced.
func (x *exchange) announced(rollout string, texts []string) {
	for _, text := range texts {
		x.expected = append(x.expected, strings.ReplaceAll(text, "<id>", rollout))
	}
}

func (x *exchange) dryRun() deploy.DryRun {
	x.t.Helper()
	dry, err := x.client.DryRun(within(x.t), "shop", nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return dry
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
func (x *exchange) promote() string {
	x.t.Helper()
	dry := x.dryRun()
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
	x.announced(s.Rollout, dry.Promote)
	return s.Rollout
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
	dry := x.dryRun()
	x.want("1")
	rollout := x.promote()
	x.want("2")
	x.do(deploy.VerbRollback, over(deploy.PhaseRolledBack))
	x.announced(rollout, dry.SwapBack)
	x.want("1")
	rollout = x.promote()
	x.want("2")
	x.do(deploy.VerbCleanup, over(deploy.PhaseDone))
	x.announced(rollout, dry.Cleanup)
	x.want("2")
	x.build("3") // every deploy name is free again
	rollout = x.promote()
	x.want("3")
	x.do(deploy.VerbCleanup, over(deploy.PhaseDone))
	x.announced(rollout, dry.Cleanup)
	x.want("3")
	x.sent.mu.Lock()
	defer x.sent.mu.Unlock()
	if !slices.Equal(x.sent.done, x.expected) {
		x.t.Errorf("the server saw\n\t%s\nthe dry runs had announced\n\t%s", strings.Join(x.sent.done, "\n\t"), strings.Join(x.expected, "\n\t"))
	}
}

package mz

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"mzcanary/deploy"
	"mzcanary/internal/sim"
)

func commitPattern() *regexp.Regexp { return regexp.MustCompile(`^COMMIT`) }

func (sh *shopOn) readiness(opts deploy.ReadyOptions) deploy.Readiness {
	sh.t.Helper()
	r, err := sh.w.Readiness(within(sh.t, time.Minute), sh.spec, opts)
	if err != nil {
		sh.t.Fatal(err)
	}
	return r
}

// awaitReady asks until it is so; the deadline is only a guard.
func (sh *shopOn) awaitReady(opts deploy.ReadyOptions) deploy.Readiness {
	sh.t.Helper()
	ctx := within(sh.t, 5*time.Minute)
	for {
		r, err := sh.w.Readiness(ctx, sh.spec, opts)
		if err != nil {
			sh.t.Fatal(err)
		}
		if r.Ready {
			return r
		}
	}
}

func (sh *shopOn) notReady(opts deploy.ReadyOptions, why string) deploy.Readiness {
	sh.t.Helper()
	r := sh.readiness(opts)
	if r.Ready || !strings.Contains(sh.plain(r.Why), why) {
		sh.t.Errorf("ready %v because %q; want not ready because %q", r.Ready, sh.plain(r.Why), why)
	}
	return r
}

var usual = deploy.ReadyOptions{MaxLag: 10 * time.Second, Probe: 10 * time.Second}

func TestReadinessOnServer(t *testing.T) {
	sh := newShop(startServer(t))
	sh.run("CREATE VIEW NEXT.fixed AS SELECT 1 AS a", "CREATE MATERIALIZED VIEW NEXT.constant IN CLUSTER NEXT AS SELECT a FROM NEXT.fixed")
	r := sh.awaitReady(usual)
	if r.Total != 3 || r.Hydrated != 3 || r.Why != "ready" || r.At.IsZero() {
		t.Errorf("%+v", r)
	}
	for _, o := range r.Objects {
		constant := strings.HasSuffix(o.Name, ".constant")
		if constant != (o.State == stateNoInputs) || !constant && o.State != stateReady {
			t.Errorf("%+v", o)
		}
	}
	sh.run("ALTER CLUSTER NEXT SET (REPLICATION FACTOR 0)")
	r = sh.notReady(usual, "cluster NEXT has no replica")
	if r.Failing == "" {
		t.Error("no replica is a failure, not something to wait for")
	}
	sh.run("ALTER CLUSTER NEXT SET (REPLICATION FACTOR 1)")
	sh.awaitReady(usual)
	sh.run("DROP CLUSTER NEXT CASCADE")
	if r = sh.notReady(usual, "cluster NEXT does not exist"); r.Failing == "" {
		t.Error("a missing cluster is a failure")
	}
}

// lenientQuery is what dbt's deploy_await and mz-deploy ask, whole, with a lag of 10 s
// allowed.
const lenientQuery = `WITH
problematic_replicas AS (
    SELECT replica_id FROM mz_internal.mz_cluster_replica_status_history
    WHERE occurred_at + INTERVAL '24 hours' > mz_now() AND reason = 'oom-killed'
    GROUP BY replica_id HAVING COUNT(*) >= 3
),
cluster_health AS (
    SELECT c.name AS cluster_name, c.id AS cluster_id,
           COUNT(r.id) AS total_replicas, COUNT(pr.replica_id) AS problematic_replicas
    FROM mz_clusters c
    LEFT JOIN mz_cluster_replicas r ON c.id = r.cluster_id
    LEFT JOIN problematic_replicas pr ON r.id = pr.replica_id
    WHERE c.name IN ('CLUSTER') GROUP BY c.name, c.id
),
hydration_counts AS (
    SELECT c.name AS cluster_name, r.id AS replica_id,
           COUNT(*) FILTER (WHERE mhs.hydrated) AS hydrated, COUNT(*) AS total
    FROM mz_clusters c
    JOIN mz_cluster_replicas r ON c.id = r.cluster_id
    LEFT JOIN mz_internal.mz_hydration_statuses mhs ON mhs.replica_id = r.id
    WHERE c.name IN ('CLUSTER') GROUP BY c.name, r.id
),
hydration_best AS (
    SELECT cluster_name, MAX(hydrated) AS hydrated, MAX(total) AS total FROM hydration_counts GROUP BY cluster_name
),
cluster_lag AS (
    SELECT c.name AS cluster_name, MAX(EXTRACT(EPOCH FROM wgl.lag)) AS max_lag_secs
    FROM mz_clusters c
    JOIN mz_cluster_replicas r ON c.id = r.cluster_id
    JOIN mz_internal.mz_hydration_statuses mhs ON mhs.replica_id = r.id
    JOIN mz_internal.mz_wallclock_global_lag wgl ON wgl.object_id = mhs.object_id
    WHERE c.name IN ('CLUSTER') GROUP BY c.name
),
lag_threshold_secs AS (SELECT EXTRACT(EPOCH FROM INTERVAL '10s') AS threshold_secs)
SELECT
    CASE WHEN ch.total_replicas = 0 THEN 'failing'
         WHEN ch.total_replicas = ch.problematic_replicas THEN 'failing'
         WHEN COALESCE(hb.hydrated, 0) < COALESCE(hb.total, 0) THEN 'hydrating'
         WHEN COALESCE(cl.max_lag_secs, 0) > (SELECT threshold_secs FROM lag_threshold_secs) THEN 'lagging'
         ELSE 'ready' END AS status
FROM cluster_health ch
LEFT JOIN hydration_best hb ON ch.cluster_name = hb.cluster_name
LEFT JOIN cluster_lag cl ON ch.cluster_name = cl.cluster_name`

func (sh *shopOn) lenientSays() string {
	return sh.value(strings.ReplaceAll(lenientQuery, "CLUSTER", sh.next))
}

// Each weakness of the query of dbt and mz-deploy: where it says ready, we do not.
func TestReadinessIsStricterThanTheLenientQuery(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	faults := sh.sim.Faults()
	sh.awaitReady(usual)
	everywhere := usual
	everywhere.AllReplicas = true
	cases := []struct {
		name     string
		do, undo func() error
		why      string
	}{
		{"lag, while the wallclock has no row yet (2)", func() error { return faults.SetLag(sh.next, time.Hour) },
			func() error { return faults.SetLag(sh.next, 0) }, "1h0m0s behind"},
		{"unreadable (5)", func() error { return faults.SetObjectLag(sh.database+"."+sh.next+".total", -1) },
			func() error { return faults.SetObjectLag(sh.database+"."+sh.next+".total", 0) }, "does not say yet"},
		{"two replicas, each with half of it (3)", func() error {
			sh.run("ALTER CLUSTER NEXT SET (REPLICATION FACTOR 2)")
			sh.awaitReady(everywhere)
			return errors.Join(faults.KeepUnreported(sh.next, "r1", sh.database+"."+sh.next+".total", true), faults.KeepUnreported(sh.next, "r2", sh.database+"."+sh.next+".answer_idx", true))
		}, func() error {
			err := errors.Join(faults.KeepUnreported(sh.next, "r1", sh.database+"."+sh.next+".total", false), faults.KeepUnreported(sh.next, "r2", sh.database+"."+sh.next+".answer_idx", false))
			sh.run("ALTER CLUSTER NEXT SET (REPLICATION FACTOR 1)")
			return err
		}, "no replica of cluster NEXT has hydrated all 2"},
		{"one of two replicas in a loop for want of memory (3)", func() error {
			sh.run("ALTER CLUSTER NEXT SET (REPLICATION FACTOR 2)")
			sh.awaitReady(everywhere)
			return faults.AddOOM(sh.next, "r2", 3)
		}, func() error { sh.run("ALTER CLUSTER NEXT SET (REPLICATION FACTOR 1)"); return nil }, "replica r2 of cluster NEXT was killed for want of memory 3 times"},
		{"a view that fails at every read (7)", func() error {
			return faults.FailSelects(sim.SelectFault{Schema: sh.database + "." + sh.next, Every: 1, Code: "XX000", Message: "Evaluation error: division by zero"})
		}, func() error { faults.ClearSelectFaults(); return nil }, "division by zero"},
		{"offline with stale rows (4)", func() error { return faults.StopReplica(sh.next, "r1", "oom-killed") },
			func() error { return faults.StartReplica(sh.next, "r1") }, "is offline (oom-killed)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			was := sh.t
			sh.t = t
			defer func() { sh.t = was }()
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			if says := sh.lenientSays(); says != "ready" {
				t.Errorf("the lenient query says %q here; the case shows nothing", says)
			}
			sh.notReady(usual, c.why)
			if err := c.undo(); err != nil {
				t.Fatal(err)
			}
			sh.awaitReady(usual)
		})
	}
}

// Weakness 1: right after its creation an object has no row at all.
func TestReadinessOfAnObjectJustCreated(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{HydrationTime: time.Hour}))
	if says := sh.lenientSays(); says != "ready" {
		t.Errorf("the lenient query says %q here; the case shows nothing", says)
	}
	r := sh.notReady(usual, "no replica of cluster NEXT has hydrated all 2")
	if r.Hydrated != 0 || r.Total != 2 || r.Objects[0].State != stateNoRow || r.Failing != "" {
		t.Errorf("%+v", r)
	}
}

func TestReadinessLost(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	faults := sh.sim.Faults()
	sh.awaitReady(usual)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(faults.LoseHydration(sh.next, false))
	if r := sh.notReady(usual, "hydrated all"); r.Objects[0].State != stateHydrating {
		t.Errorf("%+v", r.Objects)
	}
	check(faults.RestoreHydration(sh.next))
	sh.awaitReady(usual)

	check(faults.LoseHydration(sh.live, false)) // of the old version: not our affair
	sh.awaitReady(usual)
	check(faults.RestoreHydration(sh.live))

	check(faults.AddOOM(sh.next, "r1", 2))
	sh.awaitReady(usual)
	check(faults.AddOOM(sh.next, "r1", 1))
	if r := sh.notReady(usual, "want of memory"); r.Failing == "" {
		t.Error("an out-of-memory loop is a failure")
	}
}

// A replica that hangs reports nothing wrong; only the probe notices, within its own
// time, and its statement does not stay behind.
func TestReadinessProbeNoticesAHang(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	sh.awaitReady(usual)
	if err := sh.sim.Faults().HangReplica(sh.next, "r1"); err != nil {
		t.Fatal(err)
	}
	blind := deploy.ReadyOptions{MaxLag: time.Hour}
	if r := sh.readiness(blind); !r.Ready {
		t.Errorf("without a probe: %+v", r)
	}
	blind.Probe = 200 * time.Millisecond
	r := sh.notReady(blind, "no answer within 200ms")
	if r.Failing != "" {
		t.Errorf("failing %q: a hang may pass", r.Failing)
	}
	ctx := within(t, time.Minute)
	for { // the probe's session is canceled and leaves
		mine := 0
		for _, s := range sh.sim.Sessions() {
			if s.Application == "mzcanary" {
				mine++
			}
		}
		if mine <= 2 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%d sessions of ours are still there", mine)
		}
	}
}

func TestReadinessOfReplicas(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	sh.run("ALTER CLUSTER NEXT SET (REPLICATION FACTOR 2)")
	all := usual
	all.AllReplicas = true
	sh.awaitReady(all)
	if err := sh.sim.Faults().StopReplica(sh.next, "r2", ""); err != nil {
		t.Fatal(err)
	}
	sh.notReady(usual, "replica r2 of cluster NEXT")
}

// With schema pairs only both versions share a cluster.
func TestReadinessWithoutClusterPairs(t *testing.T) {
	sh := newShop(startServer(t))
	sh.spec.Clusters = nil
	if r := sh.awaitReady(usual); r.Total != 2 {
		t.Errorf("%+v", r)
	}
	want(t, sh.found(sh.w, sh.spec))
}

// Where nothing runs on the cluster of the new version, what its sessions would read
// there is asked for; where there is nothing to read, it has not been built.
func TestReadinessWhereNothingRuns(t *testing.T) {
	sh := newShop(startServer(t))
	sh.awaitReady(usual)
	sh.run("DROP VIEW NEXT.answer CASCADE", "DROP MATERIALIZED VIEW NEXT.total CASCADE")
	sh.notReady(usual, "has not been built yet")
	sh.run("CREATE VIEW NEXT.plain AS SELECT 1 AS a")
	if r := sh.awaitReady(usual); !strings.Contains(sh.plain(r.Why), "nothing runs on cluster NEXT, where NEXT.plain is what can be read") || r.Total != 0 {
		t.Errorf("%+v", r)
	}
	sh.spec.Clusters = nil
	if r := sh.awaitReady(usual); !strings.Contains(sh.plain(r.Why), "nothing runs on a cluster for it, where NEXT.plain is what can be read") {
		t.Errorf("%+v", r)
	}
	sh.run("DROP VIEW NEXT.plain")
	sh.notReady(usual, "has not been built yet")
}

// A replica beyond the replication factor is there for a hydration or a change of size:
// what only it holds is gone when it goes.
func TestReadinessIgnoresWhatOnlyABurstReplicaHolds(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	faults := sh.sim.Faults()
	sh.awaitReady(usual)
	if err := faults.AddBurstReplica(sh.next, "burst"); err != nil {
		t.Fatal(err)
	}
	sh.awaitReady(usual) // both hold everything: whichever goes, one stays
	for _, object := range []string{"total", "answer_idx"} {
		if err := faults.KeepUnreported(sh.next, "r1", sh.database+"."+sh.next+"."+object, true); err != nil {
			t.Fatal(err)
		}
	}
	if says := sh.lenientSays(); says != "ready" {
		t.Errorf("the lenient query says %q here; the case shows nothing", says)
	}
	sh.notReady(usual, "cluster NEXT has 2 replicas where 1 are meant to be")
	for _, object := range []string{"total", "answer_idx"} {
		if err := faults.KeepUnreported(sh.next, "r1", sh.database+"."+sh.next+"."+object, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := faults.RemoveBurstReplica(sh.next, "burst"); err != nil {
		t.Fatal(err)
	}
	sh.awaitReady(usual)
}

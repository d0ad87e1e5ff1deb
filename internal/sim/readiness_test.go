package sim

import (
	"testing"
	"testing/synctest"
	"time"
)

// dbtReady is the readiness query of dbt's deploy_await for one cluster, shortened to its status column's inputs.
const dbtReady = `
WITH
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
    WHERE c.name IN ('c') GROUP BY c.name, c.id
),
hydration_counts AS (
    SELECT c.name AS cluster_name, r.id AS replica_id,
           COUNT(*) FILTER (WHERE mhs.hydrated) AS hydrated, COUNT(*) AS total
    FROM mz_clusters c
    JOIN mz_cluster_replicas r ON c.id = r.cluster_id
    LEFT JOIN mz_internal.mz_hydration_statuses mhs ON mhs.replica_id = r.id
    WHERE c.name IN ('c') GROUP BY c.name, r.id
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
    WHERE c.name IN ('c') GROUP BY c.name
),
lag_threshold_secs AS (SELECT EXTRACT(EPOCH FROM INTERVAL '1s') AS threshold_secs)
SELECT
    CASE WHEN ch.total_replicas = 0 THEN 'failing'
         WHEN ch.total_replicas = ch.problematic_replicas THEN 'failing'
         WHEN COALESCE(hb.hydrated, 0) < COALESCE(hb.total, 0) THEN 'hydrating'
         WHEN COALESCE(cl.max_lag_secs, 0) > (SELECT threshold_secs FROM lag_threshold_secs) THEN 'lagging'
         ELSE 'ready' END AS status,
    COALESCE(hb.hydrated, 0) AS hydrated_count, COALESCE(hb.total, 0) AS total_count,
    COALESCE(cl.max_lag_secs, 0)::bigint AS max_lag_secs
FROM cluster_health ch
LEFT JOIN hydration_best hb ON ch.cluster_name = hb.cluster_name
LEFT JOIN cluster_lag cl ON ch.cluster_name = cl.cluster_name`

// pendingFlows is the older query, which starts from the catalog: rows are what is not ready.
const pendingFlows = `
WITH dataflows AS (
    SELECT mz_indexes.id FROM mz_indexes JOIN mz_clusters ON mz_indexes.cluster_id = mz_clusters.id WHERE mz_clusters.name = 'c'
    UNION ALL
    SELECT mz_materialized_views.id FROM mz_materialized_views JOIN mz_clusters ON mz_materialized_views.cluster_id = mz_clusters.id WHERE mz_clusters.name = 'c'),
ready_dataflows AS (
    SELECT id FROM dataflows d
    JOIN mz_internal.mz_compute_hydration_statuses h ON (h.object_id = d.id)
    LEFT JOIN mz_internal.mz_materialization_lag l ON (l.object_id = d.id)
    WHERE h.hydrated AND (l.local_lag <= '4s' OR l.local_lag IS NULL)),
pending_dataflows AS (SELECT id FROM dataflows EXCEPT SELECT id FROM ready_dataflows)
SELECT count(*) FROM pending_dataflows`

// TestReadinessQueries: dbt's query says "ready" in the very second a view is created, as it does on a real server;
// the older one does not.
func TestReadinessQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{HydrationTime: 20 * time.Second})
		must(t, s.ExecAs(t.Context(), "materialize", "CREATE CLUSTER c (SIZE 'x'); CREATE TABLE t (a int); CREATE MATERIALIZED VIEW m IN CLUSTER c AS SELECT a FROM t"))
		c := connectMemory(t, s, "materialize", "")
		check := func(when, dbt, pending string) {
			t.Helper()
			if got := scalar(t, c, dbtReady); got != dbt {
				t.Errorf("%s: %s, want %s", when, got, dbt)
			}
			if got := scalar(t, c, pendingFlows); got != pending {
				t.Errorf("%s: %s pending, want %s", when, got, pending)
			}
		}
		check("at once", "ready 3 3 0", "1")
		time.Sleep(5 * time.Second)
		check("after 5 s", "hydrating 3 4 0", "1")
		time.Sleep(20 * time.Second)
		check("after 25 s", "ready 4 4 0", "0")
		time.Sleep(2 * time.Minute)
		must(t, s.Faults().SetLag("c", time.Minute))
		check("lagging", "lagging 4 4 60", "1")
		must(t, s.Faults().SetLag("c", 0))
		must(t, s.Faults().AddOOM("c", "r1", 3))
		check("out of memory", "failing 4 4 1", "0")
	})
}

-- Replicas of every user cluster and the state of each of their processes.
-- A cluster without replicas has one row with NULLs; so has a replica of which no
-- process has reported. The last column is how many replicas a managed cluster is
-- meant to have: those beyond it are there for a hydration or a change of size only.
SELECT c.id, c.name, r.id, r.name, r.size, s.process_id::text, s.status, s.reason,
       CASE WHEN c.managed THEN c.replication_factor::text END
FROM mz_catalog.mz_clusters c
LEFT JOIN mz_catalog.mz_cluster_replicas r ON r.cluster_id = c.id
LEFT JOIN mz_internal.mz_cluster_replica_statuses s ON s.replica_id = r.id
WHERE c.id LIKE 'u%'
ORDER BY 1, 3, 6

-- What each replica has said about each dataflow of a cluster. The catalog, not this,
-- says which dataflows there are: a new one has no row here at all for a while.
-- $1 cluster id.
SELECT h.object_id, h.replica_id, h.hydrated::text
FROM mz_internal.mz_hydration_statuses h
JOIN mz_catalog.mz_objects o ON o.id = h.object_id
WHERE o.cluster_id = $1 AND o.id LIKE 'u%' AND h.replica_id IS NOT NULL
ORDER BY 1, 2

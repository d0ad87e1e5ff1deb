-- Every index and materialized view that runs on a cluster, from the catalog, with
-- how far it is behind its inputs (local) and the sources (global); both are NULL or
-- missing for a constant one. For an index also the relation it is on. The lag
-- behind the clock comes from the frontiers: mz_wallclock_global_lag is up to a
-- minute old, and after a hydration still tells of the time before it.  $1 cluster id.
SELECT o.id, o.name, o.type, s.id, s.name, d.name, rs.name, r.name,
       EXTRACT(EPOCH FROM l.local_lag)::text,
       EXTRACT(EPOCH FROM l.global_lag)::text
FROM mz_catalog.mz_objects o
JOIN mz_catalog.mz_schemas s ON s.id = o.schema_id
JOIN mz_catalog.mz_databases d ON d.id = s.database_id
LEFT JOIN mz_catalog.mz_indexes i ON i.id = o.id
LEFT JOIN mz_catalog.mz_objects r ON r.id = i.on_id
LEFT JOIN mz_catalog.mz_schemas rs ON rs.id = r.schema_id
LEFT JOIN mz_internal.mz_materialization_lag l ON l.object_id = o.id
WHERE o.cluster_id = $1 AND o.id LIKE 'u%' AND o.type IN ('index', 'materialized-view')
ORDER BY s.name, o.name

-- Comments of the schemas of a database and of the clusters.  $1 database.
SELECT 'schema' AS kind, s.name, s.id, m.comment
FROM mz_catalog.mz_schemas s
JOIN mz_catalog.mz_databases d ON d.id = s.database_id
JOIN mz_internal.mz_comments m ON m.id = s.id
WHERE d.name = $1 AND m.object_type = 'schema' AND m.object_sub_id IS NULL
UNION ALL
SELECT 'cluster', c.name, c.id, m.comment
FROM mz_catalog.mz_clusters c
JOIN mz_internal.mz_comments m ON m.id = c.id
WHERE m.object_type = 'cluster' AND m.object_sub_id IS NULL
ORDER BY 1, 2

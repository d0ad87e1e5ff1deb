-- Every schema of a database and every cluster, with the id behind the name.
-- $1 database. Small, and read often: the watcher compares it every few seconds.
SELECT 'schema' AS kind, s.name, s.id
FROM mz_catalog.mz_schemas s JOIN mz_catalog.mz_databases d ON d.id = s.database_id
WHERE d.name = $1
UNION ALL
SELECT 'cluster', c.name, c.id FROM mz_catalog.mz_clusters c
ORDER BY 1, 2

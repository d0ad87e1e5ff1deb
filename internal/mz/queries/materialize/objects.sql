-- Every user object of every database, with its schema, the cluster it runs on, its
-- owner, and for an index the relation it is on.
SELECT o.id, o.name, o.type, s.id, s.name, d.name, o.cluster_id, c.name, o.owner_id, i.on_id
FROM mz_catalog.mz_objects o
JOIN mz_catalog.mz_schemas s ON s.id = o.schema_id
JOIN mz_catalog.mz_databases d ON d.id = s.database_id
LEFT JOIN mz_catalog.mz_clusters c ON c.id = o.cluster_id
LEFT JOIN mz_catalog.mz_indexes i ON i.id = o.id
WHERE o.id LIKE 'u%'
ORDER BY 6, 5, 2

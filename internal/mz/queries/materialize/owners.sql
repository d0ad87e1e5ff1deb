-- Who owns the schemas of a database and the clusters, and whether the control role
-- is that role or a member of it.  $1 database.
SELECT 'schema' AS kind, s.id, r.name, r.id, pg_has_role(current_user, r.oid, 'USAGE')::text
FROM mz_catalog.mz_schemas s
JOIN mz_catalog.mz_databases d ON d.id = s.database_id
JOIN mz_catalog.mz_roles r ON r.id = s.owner_id
WHERE d.name = $1
UNION ALL
SELECT 'cluster', c.id, r.name, r.id, pg_has_role(current_user, r.oid, 'USAGE')::text
FROM mz_catalog.mz_clusters c JOIN mz_catalog.mz_roles r ON r.id = c.owner_id
ORDER BY 1, 2

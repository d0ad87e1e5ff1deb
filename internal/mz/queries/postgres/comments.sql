-- Comments of the schemas.  $1 database.
SELECT 'schema' AS kind, n.nspname, n.oid::text, pg_catalog.obj_description(n.oid, 'pg_namespace')
FROM pg_catalog.pg_namespace n
WHERE pg_catalog.current_database() = $1 AND pg_catalog.obj_description(n.oid, 'pg_namespace') IS NOT NULL
ORDER BY 2

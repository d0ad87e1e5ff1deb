-- Every schema of the connected database; PostgreSQL has no clusters. The parameter
-- keeps the call the same for both servers: another database is never looked at.
-- $1 database.
SELECT 'schema' AS kind, n.nspname, n.oid::text
FROM pg_catalog.pg_namespace n
WHERE pg_catalog.current_database() = $1
ORDER BY 2

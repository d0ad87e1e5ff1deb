-- Who owns the schemas, and whether the control role is that role or a member of it.
-- $1 database.
SELECT 'schema' AS kind, n.oid::text, r.rolname::text, r.oid::text, pg_catalog.pg_has_role(current_user, r.oid, 'USAGE')::text
FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
WHERE pg_catalog.current_database() = $1
ORDER BY 2

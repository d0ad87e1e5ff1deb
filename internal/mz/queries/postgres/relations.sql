-- Relations of a schema that a session reads, and whether they hold data yet.
-- $1 schema oid.
SELECT c.oid::text, c.relname, c.relkind::text, c.relispopulated::text
FROM pg_catalog.pg_class c
WHERE c.relnamespace::text = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY 2

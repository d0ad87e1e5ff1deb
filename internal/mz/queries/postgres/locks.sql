-- Client sessions that hold locks on relations of some schemas. What a role may not
-- see of another's session is NULL.
-- $1 schema oids, separated by commas.
SELECT a.pid::text, a.usename::text, a.application_name, a.state,
       pg_catalog.to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
       pg_catalog.string_agg(DISTINCT n.nspname || '.' || c.relname, ', ')
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND c.relkind NOT IN ('i', 'I')
  AND c.relnamespace::text = ANY (pg_catalog.string_to_array($1, ','))
  AND coalesce(a.backend_type, 'client backend') = 'client backend'
GROUP BY a.pid, a.usename, a.application_name, a.state, a.xact_start
ORDER BY a.pid

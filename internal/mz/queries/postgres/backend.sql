-- Whether a server process with this number exists, of which role, and what tells it
-- from a later one.  $1 process id.
SELECT (a.usename = current_user)::text, EXTRACT(EPOCH FROM a.backend_start)::text
FROM pg_catalog.pg_stat_activity a
WHERE a.pid::text = $1

-- Whether a server process with this number exists, and of which role.  $1 process id.
SELECT (a.usename = current_user)::text
FROM pg_catalog.pg_stat_activity a
WHERE a.pid::text = $1

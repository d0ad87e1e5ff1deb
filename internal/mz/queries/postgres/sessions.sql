-- Every client session of the connected database.
SELECT a.pid::text, a.usename::text
FROM pg_catalog.pg_stat_activity a
WHERE a.backend_type = 'client backend' AND a.datname = pg_catalog.current_database()
ORDER BY 1

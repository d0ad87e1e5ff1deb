-- When the server process started, as seconds since 1970: a change means a restart.
SELECT EXTRACT(EPOCH FROM pg_postmaster_start_time())::text

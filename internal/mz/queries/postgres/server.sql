-- When the server started, as seconds since 1970, and whether it takes writes.
SELECT EXTRACT(EPOCH FROM pg_catalog.pg_postmaster_start_time())::text,
       (pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('default_transaction_read_only') = 'on')::text

-- Who the control role is and what it may do in the database.
-- $1 database, which must exist.
SELECT current_user, mz_is_superuser()::text, has_database_privilege(current_user, $1, 'CREATE')::text

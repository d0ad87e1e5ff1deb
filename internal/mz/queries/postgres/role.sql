-- Who the control role is and what it may do in the database.  $1 database.
SELECT current_user::text, r.rolsuper::text, pg_catalog.has_database_privilege(current_user, $1, 'CREATE')::text
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user

-- Who the control role is, what it may do in the database, and whether it has the rights
-- of the roles it is a member of.  $1 database.
SELECT current_user::text, r.rolsuper::text, pg_catalog.has_database_privilege(current_user, $1, 'CREATE')::text, r.rolinherit::text
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user

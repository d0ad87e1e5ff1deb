-- Whether a session with this connection id exists, of which role, and what tells it
-- from a later one. $1 connection id. The numbers are used again after a session's end.
SELECT (r.name = current_user)::text, s.id::text
FROM mz_internal.mz_sessions s LEFT JOIN mz_catalog.mz_roles r ON r.id = s.role_id
WHERE s.connection_id::text = $1

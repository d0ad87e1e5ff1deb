-- Every session of a user's role.
SELECT s.connection_id::text, r.name
FROM mz_internal.mz_sessions s LEFT JOIN mz_catalog.mz_roles r ON r.id = s.role_id
WHERE s.role_id LIKE 'u%'
ORDER BY 1

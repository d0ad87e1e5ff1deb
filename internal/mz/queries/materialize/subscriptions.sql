-- Live subscriptions: cluster, whose, and since when.
SELECT b.id, b.cluster_id, s.connection_id::text, r.name, b.created_at::text
FROM mz_internal.mz_subscriptions b
LEFT JOIN mz_internal.mz_sessions s ON s.id = b.session_id
LEFT JOIN mz_catalog.mz_roles r ON r.id = s.role_id
ORDER BY 1

-- Every role, once for each role it is a direct member of (NULL: of none).
SELECT r.id, r.name, m.role_id
FROM mz_catalog.mz_roles r LEFT JOIN mz_catalog.mz_role_members m ON m.member = r.id
ORDER BY 1, 3

-- Who may do what with the schemas; grantee p is PUBLIC.
SELECT a.id, a.grantee, a.privilege_type
FROM (SELECT id, mz_internal.mz_aclexplode(privileges).* FROM mz_catalog.mz_schemas) a
WHERE a.id LIKE 'u%'
ORDER BY 1, 2, 3

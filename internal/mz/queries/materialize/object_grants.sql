-- Who may do what with the objects of a schema; grantee p is PUBLIC.  $1 schema id.
SELECT a.id, a.grantee, a.privilege_type
FROM (SELECT id, schema_id, mz_internal.mz_aclexplode(privileges).* FROM mz_catalog.mz_objects) a
WHERE a.schema_id = $1 AND a.id LIKE 'u%'
ORDER BY 1, 2, 3

-- Comments of the objects of a database, without those of columns.  $1 database.
SELECT o.id, m.comment
FROM mz_internal.mz_comments m
JOIN mz_catalog.mz_objects o ON o.id = m.id AND o.type = m.object_type
JOIN mz_catalog.mz_schemas s ON s.id = o.schema_id
JOIN mz_catalog.mz_databases d ON d.id = s.database_id
WHERE d.name = $1 AND m.object_sub_id IS NULL
ORDER BY 1

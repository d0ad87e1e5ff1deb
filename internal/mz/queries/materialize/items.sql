-- Every object of a database by name, for pairs of single objects.
-- $1 database.
SELECT s.name, o.name, o.id, o.type
FROM mz_catalog.mz_objects o
JOIN mz_catalog.mz_schemas s ON s.id = o.schema_id
JOIN mz_catalog.mz_databases d ON d.id = s.database_id
WHERE d.name = $1 AND o.id LIKE 'u%'
ORDER BY 1, 2

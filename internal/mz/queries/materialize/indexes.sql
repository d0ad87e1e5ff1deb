-- Keys of the indexes of a schema, one row per key column.  $1 schema id.
SELECT i.id, ic.index_position::text, coalesce(ic.on_expression, c.name)
FROM mz_catalog.mz_indexes i
JOIN mz_catalog.mz_objects o ON o.id = i.on_id
JOIN mz_catalog.mz_index_columns ic ON ic.index_id = i.id
LEFT JOIN mz_catalog.mz_columns c ON c.id = i.on_id AND c.position = ic.on_position
WHERE o.schema_id = $1
ORDER BY 1, ic.index_position

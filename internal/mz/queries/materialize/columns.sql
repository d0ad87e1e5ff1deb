-- Columns of the relations of a schema, in order.  $1 schema id.
SELECT o.id, c.position::text, c.name, c.type, c.type_mod::text, c.nullable::text
FROM mz_catalog.mz_columns c JOIN mz_catalog.mz_objects o ON o.id = c.id
WHERE o.schema_id = $1
ORDER BY 1, c.position

-- Who reads whom, directly: an object and one it refers to. Only user objects; the
-- closure is computed here.
SELECT d.object_id, d.referenced_object_id
FROM mz_internal.mz_object_dependencies d
WHERE d.object_id LIKE 'u%' AND d.referenced_object_id LIKE 'u%'
ORDER BY 1, 2

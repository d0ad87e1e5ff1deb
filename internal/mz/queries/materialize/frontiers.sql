-- How far every dataflow has come, in milliseconds since 1970, both versions in one
-- answer so that they are of the same moment. NULL means complete for ever.
SELECT f.object_id, f.write_frontier::text
FROM mz_internal.mz_frontiers f
WHERE f.object_id LIKE 'u%'
ORDER BY 1

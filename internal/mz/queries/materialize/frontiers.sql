-- How far every dataflow has come, in milliseconds since 1970, both versions and the
-- clock in one answer so that they are of the same moment. NULL means complete for
-- ever, zero that it cannot be read yet.
SELECT f.object_id, f.write_frontier::text, EXTRACT(EPOCH FROM now())::text
FROM mz_internal.mz_frontiers f
WHERE f.object_id LIKE 'u%'
ORDER BY 1

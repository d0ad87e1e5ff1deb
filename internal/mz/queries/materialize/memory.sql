-- How often a replica was killed for want of memory in the last day.
SELECT h.replica_id, count(*)::text
FROM mz_internal.mz_cluster_replica_status_history h
WHERE h.occurred_at + INTERVAL '24 hours' > mz_now() AND h.reason = 'oom-killed'
GROUP BY 1

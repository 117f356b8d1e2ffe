-- Items that build on these: one fewer to wait for. Free of all, those that wait become claimable. An item that runs, or
-- was given back, can still have something to wait for: what it builds on was retried after it had begun.
UPDATE jobs_jobitem item
SET blocked_by = item.blocked_by - freed.n,
    status = CASE WHEN item.status = 'waiting' AND item.blocked_by = freed.n AND item.run_after IS NULL
                  THEN 'pending' ELSE item.status END
FROM (
    SELECT edge.seq, count(*) AS n
    FROM jobs_itemedge edge
    WHERE edge.job_id = %(job)s AND edge.depends_on_seq = ANY (%(done)s::int[])
    GROUP BY edge.seq
) freed
WHERE item.job_id = %(job)s AND item.seq = freed.seq AND item.status IN ('waiting', 'pending', 'running')

-- Items that waited, directly or not, for one that failed cannot run: they fail with it and come back with it.
WITH RECURSIVE below AS (
    SELECT edge.seq FROM jobs_itemedge edge
    WHERE edge.job_id = %(job)s AND edge.depends_on_seq = ANY (%(failed)s::int[])
    UNION
    SELECT edge.seq FROM jobs_itemedge edge JOIN below ON edge.depends_on_seq = below.seq
    WHERE edge.job_id = %(job)s
), closed AS (
    UPDATE jobs_jobitem item
    SET status = 'failed', error = 'An item that this one builds on failed.', error_code = 'dependency_failed',
        completed_at = now(), run_after = NULL
    FROM below
    WHERE item.job_id = %(job)s AND item.seq = below.seq AND item.status IN ('waiting', 'pending')
    RETURNING item.id, item.seq
), told AS (
    INSERT INTO jobs_jobevent (job_id, type, data)
    SELECT %(job)s, 'JOB_ITEM_FAILED',
           jsonb_build_object('items', jsonb_agg(jsonb_build_array(id, seq, NULL, 'dependency_failed') ORDER BY seq))
    FROM closed HAVING count(*) > 0
)
SELECT count(*) FROM closed

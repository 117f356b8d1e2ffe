-- Lock all items that these outcomes may change, in the order of seq: lanes that let the same items go, or fail them,
-- would else wait for each other in a circle.
WITH RECURSIVE below AS (
    SELECT edge.seq FROM jobs_itemedge edge
    WHERE edge.job_id = %(job)s AND edge.depends_on_seq = ANY (%(failed)s::int[])
    UNION
    SELECT edge.seq FROM jobs_itemedge edge JOIN below ON edge.depends_on_seq = below.seq
    WHERE edge.job_id = %(job)s
), changing AS (
    SELECT seq FROM below
    UNION
    SELECT edge.seq FROM jobs_itemedge edge
    WHERE edge.job_id = %(job)s AND edge.depends_on_seq = ANY (%(done)s::int[])
)
SELECT count(*)
FROM (
    SELECT item.id
    FROM jobs_jobitem item JOIN changing ON changing.seq = item.seq
    WHERE item.job_id = %(job)s AND item.status IN ('waiting', 'pending', 'running')
    ORDER BY item.seq
    FOR NO KEY UPDATE OF item
) locked

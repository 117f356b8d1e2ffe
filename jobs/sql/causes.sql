-- Why items of this job failed: each cause among the first failures with how many, whether trying again is without hope,
-- and what the first of them said. Most frequent first.
SELECT cause.error_code, cause.n, coalesce(item.error, ''), cause.is_permanent
FROM (
    SELECT error_code, count(*) AS n, min(seq) AS seq, bool_and(error_permanent) AS is_permanent
    FROM (
        SELECT error_code, seq, error_permanent
        FROM jobs_jobitem
        WHERE job_id = %(job)s AND status = 'failed'
        ORDER BY seq
        LIMIT %(most)s
    ) first
    GROUP BY error_code
) cause
JOIN jobs_jobitem item ON item.job_id = %(job)s AND item.seq = cause.seq
ORDER BY cause.n DESC, cause.error_code

-- Where these jobs stand among all that wait to start, 1 being the next.
SELECT id, position
FROM (
    SELECT id, row_number() OVER (ORDER BY priority, rank, id) AS position
    FROM jobs_job
    WHERE status IN ('waiting', 'pending')
) queued
WHERE id = ANY (%(ids)s::bigint[])

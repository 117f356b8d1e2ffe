-- How fast these jobs go: mean milliseconds of the items claimed last, and how many lanes are at work.
-- Items are found from the lanes' cursors backwards, so a job of a million costs no more than one of ten.
SELECT lane.job_id, recent.milliseconds::float8, lane.n_held
FROM (
    SELECT job_id, max(cursor) AS cursor, count(*) FILTER (WHERE token IS NOT NULL) AS n_held
    FROM jobs_lane
    WHERE job_id = ANY (%(ids)s::bigint[])
    GROUP BY job_id
) lane
CROSS JOIN LATERAL (
    SELECT avg(processing_time) AS milliseconds
    FROM (
        SELECT item.processing_time
        FROM jobs_jobitem item
        WHERE item.job_id = lane.job_id
          AND item.seq BETWEEN lane.cursor - 200 AND lane.cursor
          AND item.processing_time IS NOT NULL
        ORDER BY item.seq DESC
        LIMIT 20
    ) closed
) recent
WHERE recent.milliseconds IS NOT NULL

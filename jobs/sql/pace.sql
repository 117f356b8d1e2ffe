-- How fast these jobs go: mean milliseconds of the items done last, how many lanes are at work, and the seconds from one
-- finished item to the next, null where too few finished lately to tell. Fast items need the last figure: what a batch
-- costs beside its items is in no item's own time. Items are found from the lanes' cursors backwards, so a job of a
-- million costs no more than one of ten.
SELECT lane.job_id, recent.milliseconds::float8, lane.n_at_work, recent.seconds_apart::float8
FROM (
    SELECT job_id, max(cursor) AS cursor,
           -- A lane is free for a moment between two slices.
           count(*) FILTER (WHERE token IS NOT NULL OR renewed_at > now() - interval '3 seconds') AS n_at_work
    FROM jobs_lane
    WHERE job_id = ANY (%(ids)s::bigint[]) AND NOT retired
    GROUP BY job_id
) lane
CROSS JOIN LATERAL (
    SELECT avg(processing_time) FILTER (WHERE n <= 20) AS milliseconds,
           CASE WHEN count(*) FILTER (WHERE is_late) >= 40
                THEN extract(epoch FROM max(completed_at) FILTER (WHERE is_late)
                                        - min(completed_at) FILTER (WHERE is_late))
                     / (count(*) FILTER (WHERE is_late) - 1)
           END AS seconds_apart
    FROM (
        SELECT item.processing_time, item.completed_at,
               coalesce(item.completed_at > now() - interval '20 seconds', FALSE) AS is_late,
               row_number() OVER (ORDER BY item.seq DESC) AS n
        FROM jobs_jobitem item
        WHERE item.job_id = lane.job_id
          AND item.seq BETWEEN lane.cursor - 600 AND lane.cursor
          AND item.processing_time IS NOT NULL
        ORDER BY item.seq DESC
        LIMIT 300
    ) done
) recent
WHERE recent.milliseconds IS NOT NULL

-- How long the attempts of a job that ended last took: median and 95th percentile in milliseconds, and of how many.
-- Found from where the job is backwards, as in pace.sql: a job of a million costs no more than one of two thousand. An
-- open or cancelled job is where its lanes claimed last; one that ran to its end may have retried since, and is at its
-- last item.
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY processing_time)::float8,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY processing_time)::float8,
       count(*)
FROM (
    SELECT CASE WHEN status IN ('completed', 'partial', 'failed')
                THEN (SELECT max(seq) FROM jobs_jobitem WHERE job_id = job.id)
                ELSE (SELECT max(cursor) FROM jobs_lane WHERE job_id = job.id)
           END AS seq
    FROM jobs_job job WHERE id = %(job)s
) place
CROSS JOIN LATERAL (
    SELECT processing_time
    FROM jobs_jobitem
    WHERE job_id = %(job)s AND seq BETWEEN place.seq - 2000 AND place.seq AND processing_time IS NOT NULL
    ORDER BY seq DESC
    LIMIT 1000
) ended
HAVING count(*) > 0

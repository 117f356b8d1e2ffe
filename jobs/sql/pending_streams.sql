-- Streams with something unpublished, and how long each must still wait for its next publication.
SELECT pending.job_id,
       greatest(0, extract(epoch FROM
           CASE WHEN pending.job_id IS NULL
                THEN (SELECT published_at FROM jobs_eventstream WHERE job_id IS NULL)
                ELSE (SELECT published_at FROM jobs_eventstream stream WHERE stream.job_id = pending.job_id)
           END - now() + %(interval)s::float8 * interval '1 second'))::float8
FROM (SELECT DISTINCT job_id FROM jobs_jobevent WHERE sequence IS NULL) pending
ORDER BY 2 DESC NULLS FIRST

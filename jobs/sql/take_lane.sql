-- Take a free lane of the best running job that has something to claim.
WITH best AS (
    SELECT lane.id
    FROM jobs_lane lane
    JOIN jobs_job job ON job.id = lane.job_id
    JOIN jobs_queue queue ON queue.name = job.queue_id
    WHERE job.status = 'running'
      AND NOT job.paused
      AND NOT queue.paused
      AND job.executor = %(executor)s
      AND (%(cluster)s::text IS NULL OR job.cluster = %(cluster)s)
      AND NOT job.id = ANY (%(without)s::bigint[])
      AND NOT lane.retired
      AND lane.token IS NULL
      AND EXISTS (
          SELECT FROM jobs_jobitem item
          WHERE item.job_id = job.id AND item.status = 'pending'
            AND (%(perspectives)s::text[] IS NULL OR item.perspective = ANY (%(perspectives)s::text[])))
    ORDER BY job.priority, job.rank, job.id, lane.n
    LIMIT 1
    FOR UPDATE OF lane SKIP LOCKED
)
UPDATE jobs_lane lane
SET token = gen_random_uuid(), owner = %(owner)s, report = NULL, renewed_at = now(),
    lease_expires_at = now() + %(lease)s::float8 * interval '1 second'
FROM best, jobs_job job
WHERE lane.id = best.id AND job.id = lane.job_id
RETURNING lane.token, lane.cursor, job.max_batch, job.has_edges,
          job.id, job.job_id, job.type, job.pipeline, job.config::text, job.user_id, job.request_id, job.max_attempts

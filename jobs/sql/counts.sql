-- What became of the items of these jobs: what the job rows carry plus what their lanes closed and have not handed over.
-- One statement, since a lane's figures move to the job's row at once.
SELECT job.id,
       job.processed_images + coalesce(lane.n_completed, 0),
       job.failed_images + coalesce(lane.n_failed, 0),
       job.cancelled_images,
       -- null while no part of it is known
       (SELECT sum(part.cost) FROM (VALUES (job.cost_usd), (lane.cost_usd)) part (cost))
FROM jobs_job job
CROSS JOIN LATERAL (
    SELECT sum(n_completed) AS n_completed, sum(n_failed) AS n_failed, sum(cost_usd) AS cost_usd
    FROM jobs_lane
    WHERE job_id = job.id
) lane
WHERE job.id = ANY (%(ids)s::bigint[])

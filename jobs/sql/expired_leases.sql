SELECT lane.id, job.job_id, job.cluster
FROM jobs_lane lane JOIN jobs_job job ON job.id = lane.job_id
WHERE lane.token IS NOT NULL
  AND greatest(lane.lease_expires_at, pg_postmaster_start_time() + %(lease)s::float8 * interval '1 second') < now()

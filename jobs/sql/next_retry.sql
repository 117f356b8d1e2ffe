SELECT extract(epoch FROM greatest(min(run_after) - now(), interval '0'))::float8
FROM jobs_jobitem
WHERE job_id = %(job)s AND status = 'waiting' AND run_after IS NOT NULL AND blocked_by = 0

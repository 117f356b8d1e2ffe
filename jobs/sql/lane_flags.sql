-- Is the work of this lane still wanted? No row where the lane is lost.
SELECT job.status = 'running'
FROM jobs_lane lane JOIN jobs_job job ON job.id = lane.job_id
WHERE lane.token = %(token)s

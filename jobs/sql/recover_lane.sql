-- Free a lane whose lease ran out and give its items back, or up. No row where it was renewed or freed meanwhile.
-- A lease counts from the start of the server at the earliest: while the database was away nobody could renew.
WITH expired AS (
    SELECT lane.id, lane.job_id, lane.token
    FROM jobs_lane lane
    WHERE lane.id = %(lane)s AND lane.token IS NOT NULL
      AND greatest(lane.lease_expires_at, pg_postmaster_start_time() + %(lease)s::float8 * interval '1 second') < now()
    FOR UPDATE SKIP LOCKED
), held AS (
    SELECT expired.token, count(*) AS n
    FROM expired JOIN jobs_jobitem item ON item.lane_token = expired.token AND item.status = 'running'
    GROUP BY expired.token
), returned AS (
    -- One item in hand: it is to blame, and pays an attempt. Several: nobody knows which, so none pays, and the job
    -- goes on one by one.
    UPDATE jobs_jobitem item
    SET status = CASE WHEN held.n = 1 AND item.attempts >= item.max_attempts THEN 'failed' ELSE 'pending' END,
        attempts = item.attempts - (held.n > 1)::int,
        lane_token = NULL,
        error = CASE WHEN held.n = 1 THEN 'The worker was lost while it worked on this item.' END,
        error_code = CASE WHEN held.n = 1 THEN 'worker_lost' ELSE '' END,
        completed_at = CASE WHEN held.n = 1 AND item.attempts >= item.max_attempts THEN now() END
    FROM held
    WHERE item.lane_token = held.token AND item.status = 'running'
    RETURNING item.id, item.seq, item.job_id, item.status, held.token
), freed AS (
    UPDATE jobs_lane lane
    SET token = NULL, owner = '', lease_expires_at = NULL, cursor = -1,
        n_failed = lane.n_failed
                   + (SELECT count(*) FROM returned WHERE returned.token = expired.token AND returned.status = 'failed')
    FROM expired
    WHERE lane.id = expired.id
    RETURNING lane.id, lane.job_id, expired.token
), told AS (
    INSERT INTO jobs_jobevent (job_id, type, data)
    SELECT job_id, 'JOB_ITEM_FAILED',
           jsonb_build_object('items', jsonb_agg(jsonb_build_array(id, seq, NULL, 'worker_lost') ORDER BY seq))
    FROM returned WHERE status = 'failed' GROUP BY job_id
)
SELECT freed.job_id,
       freed.token IN (SELECT token FROM held WHERE n > 1),
       coalesce((SELECT array_agg(seq) FROM returned
                 WHERE returned.token = freed.token AND returned.status = 'failed'), '{}')
FROM freed

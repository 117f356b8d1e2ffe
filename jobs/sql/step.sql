-- STEP: check the fence, write the outcomes of the last batch, count them, renew the lease, claim the next batch.
-- Answers no row where the token is no longer the lane's: nothing was written then.
WITH fence AS (
    SELECT lane.id, lane.job_id,
           lane.retired OR job.paused OR queue.paused OR job.status <> 'running' AS stop
    FROM jobs_lane lane
    JOIN jobs_job job ON job.id = lane.job_id
    JOIN jobs_queue queue ON queue.name = job.queue_id
    WHERE lane.token = %(token)s
    FOR UPDATE OF lane
), outcome AS (
    SELECT *
    FROM unnest(
        %(ids)s::bigint[], %(statuses)s::text[], %(results)s::text[], %(errors)s::text[], %(codes)s::text[],
        %(permanents)s::boolean[], %(times)s::int[], %(waits)s::float8[], %(refunds)s::boolean[]
    ) AS given (id, status, result, error, code, permanent, processing_time, wait_seconds, refund)
), settled AS (
    UPDATE jobs_jobitem item
    SET status = outcome.status,
        result = outcome.result::jsonb,
        error = outcome.error,
        error_code = outcome.code,
        error_permanent = outcome.permanent,
        lane_token = NULL,
        attempts = item.attempts - outcome.refund::int,
        run_after = now() + outcome.wait_seconds * interval '1 second',
        completed_at = CASE WHEN outcome.status IN ('completed', 'failed') THEN now() END,
        processing_time = outcome.processing_time
    FROM outcome, fence
    WHERE item.id = outcome.id AND item.lane_token = %(token)s AND item.status = 'running'
    RETURNING item.id, item.seq, item.status, item.processing_time, item.error_code
), tally AS (
    SELECT count(*) AS n,
           count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status = 'failed') AS failed
    FROM settled
), candidate AS (
    SELECT item.id
    FROM jobs_jobitem item
    WHERE item.job_id = (SELECT job_id FROM fence WHERE NOT stop)
      AND item.status = 'pending'
      AND item.seq > %(cursor)s
      AND (%(perspectives)s::text[] IS NULL OR item.perspective = ANY (%(perspectives)s::text[]))
    ORDER BY item.seq  -- never by id: with stale statistics that walks every finished row
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE jobs_jobitem item
    SET status = 'running', lane_token = %(token)s, attempts = item.attempts + 1, started_at = now(),
        run_after = NULL, error = NULL, error_code = '', error_permanent = FALSE
    FROM candidate
    WHERE item.id = candidate.id
    RETURNING item.id, item.seq, item.attempts, item.max_attempts, item.image_path, item.perspective, item.payload
), counted AS (
    UPDATE jobs_lane lane
    SET n_completed = lane.n_completed + tally.completed,
        n_failed = lane.n_failed + tally.failed,
        cost_usd = CASE WHEN tally.n > 0 AND %(cost)s::numeric IS NOT NULL
                        THEN coalesce(lane.cost_usd, 0) + %(cost)s::numeric ELSE lane.cost_usd END,
        cursor = coalesce((SELECT max(seq) FROM claimed), lane.cursor),
        report = NULL,
        renewed_at = now(),
        lease_expires_at = now() + %(lease)s::float8 * interval '1 second'
    FROM fence, tally
    WHERE lane.id = fence.id
), told AS (
    -- One event for each kind of outcome in the batch; publication merges and numbers them (jobs/outbox.py).
    INSERT INTO jobs_jobevent (job_id, type, data)
    SELECT fence.job_id,
           CASE settled.status WHEN 'completed' THEN 'JOB_ITEM_COMPLETED' ELSE 'JOB_ITEM_FAILED' END,
           jsonb_build_object('items', jsonb_agg(
               jsonb_build_array(settled.id, settled.seq, settled.processing_time, nullif(settled.error_code, ''))
               ORDER BY settled.seq))
    FROM settled, fence
    WHERE settled.status IN ('completed', 'failed')
    GROUP BY fence.job_id, settled.status
)
SELECT fence.stop,
       (SELECT n FROM tally),
       (SELECT coalesce(jsonb_agg(jsonb_build_array(
                   id, seq, attempts, max_attempts, image_path, perspective, payload) ORDER BY seq), '[]')::text
        FROM claimed)
FROM fence

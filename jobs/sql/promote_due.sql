-- Backoffs that are over. Claims never filter on time; this does, under its own index.
WITH due AS (
    SELECT id FROM jobs_jobitem
    WHERE status = 'waiting' AND run_after <= now() AND blocked_by = 0
    ORDER BY run_after LIMIT 5000 FOR UPDATE SKIP LOCKED
)
UPDATE jobs_jobitem item SET status = 'pending', run_after = NULL
FROM due WHERE item.id = due.id

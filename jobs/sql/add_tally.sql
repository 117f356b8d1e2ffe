INSERT INTO jobs_tally (job_id, at, n_completed, n_failed)
VALUES (%(job)s, to_timestamp(floor(extract(epoch FROM now()) / %(step)s) * %(step)s), %(completed)s, %(failed)s)
ON CONFLICT (job_id, at) DO UPDATE
SET n_completed = jobs_tally.n_completed + excluded.n_completed, n_failed = jobs_tally.n_failed + excluded.n_failed

UPDATE jobs_lane
SET renewed_at = now(), lease_expires_at = now() + %(lease)s::float8 * interval '1 second'
WHERE token = %(token)s
RETURNING id

"""Fill a database with a million items and ten thousand jobs, ask for pages again and again, print p95 as JSON."""

import json
import statistics
import time

import django

N_ITEMS, N_FAILED, N_JOBS, N_ASKED = 1_000_000, 5_000, 10_000, 40


def fill() -> str:
    from django.db import connection

    from jobs.creation import JobDraft, create
    from jobs.pipelines import NewItem

    items = (NewItem(f"folder/{n}.jpg", "graph_caption", {"image": n}) for n in range(N_ITEMS))
    job = create(JobDraft(type="MULTI_PERSPECTIVE", pipeline="silent", name="large", items=items), by=None)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_jobitem SET status = 'failed', error = 'no', error_code = 'timeout', completed_at = now()"
            " WHERE job_id = %s AND seq %% %s = 0",
            [job.pk, N_ITEMS // N_FAILED],
        )
        cursor.execute("UPDATE jobs_job SET failed_images = %s WHERE id = %s", [N_FAILED, job.pk])
        cursor.execute(
            "INSERT INTO jobs_job (type, pipeline, queue_id, status, name, total_images, started_at, completed_at)"
            " SELECT 'BACKFILL', 'silent', 'default', CASE WHEN n %% 4 = 0 THEN 'pending' ELSE 'completed' END,"
            " 'job ' || n, 10,"
            " CASE WHEN n %% 4 <> 0 THEN now() - n * interval '5 min' END,"
            " CASE WHEN n %% 4 <> 0 THEN now() - n * interval '5 min' + interval '1 min' END"
            " FROM generate_series(1, %s) n",
            [N_JOBS],
        )
        cursor.execute("VACUUM ANALYZE")
    return str(job.job_id)


def p95_ms(path: str) -> float:
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    times = []
    for _ in range(N_ASKED):
        began = time.perf_counter()
        answer = client.get(path)
        times.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, (path, answer.content[:300])
    return statistics.quantiles(times[2:], n=20)[-1]


if __name__ == "__main__":
    django.setup()
    from orchestrator.asgi import load_for_good

    load_for_good()
    job_id = fill()
    batch = "/api/perspectives/batch"
    paths = {
        "API: list of jobs": f"{batch}/list",
        "API: one job with 500 items": f"{batch}/status/{job_id}",
        "API: failed items": f"{batch}/items/{job_id}/failed?limit=100",
        "API: statistics": f"{batch}/statistics",
        "page: queue": "/queue",
        "page: job": f"/jobs/{job_id}",
        "page: item in the middle": f"/jobs/{job_id}/items/500000",
        "page: home": "/",
    }
    print(json.dumps({name: p95_ms(path) for name, path in paths.items()}))

"""POST cancel, pause, resume, archive, restore and retry-failed"""

from uuid import uuid4

import pytest

from jobs.models import JobArchive
from tests.workbench.rows import make_job, statuses, work

pytestmark = pytest.mark.django_db

BATCH = "/api/perspectives/batch"
VERBS = ["cancel", "pause", "resume", "archive", "restore", "retry-failed"]
OF_OPEN_JOBS = ["cancel", "pause", "resume"]


def finished(**draft):
    job = make_job([{}, {"do": "permanent"}], **draft)
    work()
    job.refresh_from_db()
    assert job.status == "partial"
    return job


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("job_id", ["00000000-0000-4000-8000-000000000000", "nonsense"])
def test_a_missing_or_malformed_id_is_not_found(client, verb, job_id):
    assert client.act(f"{BATCH}/{verb}/{job_id}").status_code == 404


@pytest.mark.parametrize("verb", VERBS)
def test_somebody_elses_job_is_not_found(as_bob, ada, verb):
    job = make_job(by=ada)

    assert as_bob.act(f"{BATCH}/{verb}/{job.job_id}").status_code == 404
    job.refresh_from_db()
    assert not job.is_final


@pytest.mark.parametrize("verb", VERBS)
def test_steps_are_posted(client, verb):
    response = client.get(f"{BATCH}/{verb}/{make_job().job_id}")

    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("verb", OF_OPEN_JOBS)
def test_a_final_job_refuses_what_is_for_open_ones(client, verb):
    response = client.act(f"{BATCH}/{verb}/{finished().job_id}")

    assert response.status_code == 409
    assert response.json()["error_code"] == "transition_refused"


@pytest.mark.parametrize("verb", OF_OPEN_JOBS)
def test_the_state_is_looked_at_before_the_body(client, verb):
    response = client.generic("POST", f"{BATCH}/{verb}/{finished().job_id}", b"{", content_type="application/json")

    assert response.status_code == 409


def test_the_job_is_looked_for_before_the_body(client):
    response = client.generic("POST", f"{BATCH}/cancel/{uuid4()}", b"{", content_type="application/json")

    assert response.status_code == 404


def test_an_invalid_body_changes_nothing(client):
    job = make_job(3)

    response = client.act(f"{BATCH}/cancel/{job.job_id}", {"reason": ["no", "text"]})

    assert response.status_code == 400
    job.refresh_from_db()
    assert job.status == "running"
    assert statuses(job) == ["pending"] * 3
    assert not job.events.filter(type="JOB_CANCELLED").exists()


def test_cancel_closes_what_is_open(client):
    job = make_job(3)

    response = client.act(f"{BATCH}/cancel/{job.job_id}", {"reason": "wrong pictures"})

    assert response.json() == {"success": True, "jobId": str(job.job_id), "status": "cancelled"}
    assert statuses(job) == ["cancelled"] * 3
    assert job.events.get(type="JOB_CANCELLED").data["reason"] == "wrong pictures"


def test_cancel_takes_waiting_pending_running_and_paused_jobs(client, settings):
    settings.MAX_CONCURRENT_JOBS = 1
    running, pending = make_job(), make_job()
    waiting, paused = make_job(dependencies=[pending.job_id]), make_job()
    paused.pause(by=None)

    for job in (waiting, paused, pending, running):
        assert client.act(f"{BATCH}/cancel/{job.job_id}").status_code == 200


def test_cancel_refuses_the_second_time(client):
    job = make_job()

    assert client.act(f"{BATCH}/cancel/{job.job_id}").status_code == 200
    assert client.act(f"{BATCH}/cancel/{job.job_id}").status_code == 409


def test_pause_and_resume_may_be_repeated(client):
    job = make_job()
    answer = {"success": True, "jobId": str(job.job_id)}

    for _ in range(2):
        assert client.act(f"{BATCH}/pause/{job.job_id}").json() == answer | {"paused": True}
    for _ in range(2):
        assert client.act(f"{BATCH}/resume/{job.job_id}").json() == answer | {"paused": False}


def test_archive_and_restore_keep_who_when_and_why(as_ada, ada):
    job = finished(by=ada)

    archived = as_ada.act(f"{BATCH}/archive/{job.job_id}", {"reason": "old"}).json()
    restored = as_ada.act(f"{BATCH}/restore/{job.job_id}").json()

    assert archived["success"]
    assert archived["archived"]
    assert archived["archiveDate"].endswith("Z")
    assert restored == {"success": True, "jobId": str(job.job_id), "archived": False, "archiveDate": None}
    row = JobArchive.objects.get(job=job)
    assert (row.archived_by, row.reason, row.restored_by) == (ada, "old", ada)
    assert (row.processed_images, row.failed_images) == (1, 1)


def test_archive_refuses_an_open_job_and_an_archived_one(client):
    assert client.act(f"{BATCH}/archive/{make_job().job_id}").status_code == 409
    job = finished()
    assert client.act(f"{BATCH}/archive/{job.job_id}").status_code == 200
    assert client.act(f"{BATCH}/archive/{job.job_id}").status_code == 409


def test_restore_refuses_what_is_not_archived(client):
    assert client.act(f"{BATCH}/restore/{finished().job_id}").status_code == 409


def test_retry_failed_reopens_the_job(client):
    job = finished()

    response = client.act(f"{BATCH}/retry-failed/{job.job_id}")

    answer = response.json()
    assert answer["success"]
    assert answer["retriedItems"] == 1
    assert answer["status"] in {"pending", "running"}
    shown = client.get(f"{BATCH}/status/{job.job_id}").json()["job"]
    assert shown["completedAt"] is None
    assert shown["progress"] == 50


def test_retry_failed_takes_chosen_items(client):
    job = make_job([{"do": "permanent"}, {"do": "permanent"}])
    work()
    first, second = job.items.order_by("seq")

    answer = client.act(f"{BATCH}/retry-failed/{job.job_id}", {"itemIds": [second.pk]}).json()

    assert answer["retriedItems"] == 1
    assert statuses(job) == ["failed", "pending"]
    assert first.pk != second.pk


@pytest.mark.parametrize("item_ids", [[], ["x"], [0], [10**30], {"a": 1}, "all", [999_999_999]])
def test_retry_failed_refuses_ids_that_are_not_its_failed_items(client, item_ids):
    job = finished()

    response = client.act(f"{BATCH}/retry-failed/{job.job_id}", {"itemIds": item_ids})

    assert response.status_code == 400
    assert statuses(job) == ["completed", "failed"]


def test_retry_failed_refuses_when_nothing_failed_or_archived(client):
    fine = make_job()
    work()
    archived = finished()
    archived.archive(by=None)

    assert client.act(f"{BATCH}/retry-failed/{fine.job_id}").status_code == 409
    assert client.act(f"{BATCH}/retry-failed/{archived.job_id}").status_code == 409
    assert client.act(f"{BATCH}/retry-failed/{archived.job_id}", {"itemIds": "x"}).status_code == 409

"""POST reorder"""

from uuid import uuid4

import pytest

from jobs.models import Job
from tests.workbench.rows import make_job

pytestmark = pytest.mark.django_db

REORDER = "/api/perspectives/batch/reorder"


@pytest.fixture(autouse=True)
def _nothing_starts(settings):
    settings.MAX_CONCURRENT_JOBS = 0


def order() -> list[str]:
    return [str(job_id) for job_id in Job.objects.in_order().values_list("job_id", flat=True)]


def test_a_list_follows_from_where_its_first_stands(client):
    a, b, c, d = (str(make_job().job_id) for _ in range(4))
    gone = str(uuid4())

    answer = client.act(REORDER, {"jobIds": [d, gone, b]}).json()

    assert order() == [a, d, b, c]
    assert answer["success"] is True
    assert answer["updatedJobs"] == 2
    assert answer["ignored"] == [gone]
    assert answer["queueVersion"] > 0


def test_a_final_job_is_ignored_and_named(client):
    a, b = make_job(), make_job()
    a.cancel(by=None)

    answer = client.act(REORDER, {"jobIds": [str(b.job_id), str(a.job_id)]}).json()

    assert answer["ignored"] == [str(a.job_id)]


@pytest.mark.parametrize(("where", "expected"), [("before", "acbd"), ("after", "abcd")])
def test_one_job_is_put_beside_another_at_its_priority(client, where, expected):
    jobs = {name: make_job(priority=200 if name == "c" else 100) for name in "abcd"}

    answer = client.act(REORDER, {"jobId": str(jobs["c"].job_id), where: str(jobs["b"].job_id)}).json()

    names = {str(job.job_id): name for name, job in jobs.items()}
    assert "".join(names[job_id] for job_id in order()) == expected
    assert answer["updatedJobs"] == 1
    jobs["c"].refresh_from_db()
    assert jobs["c"].priority == 100


def test_a_priority_moves_one_job(client):
    a, b = make_job(), make_job()

    assert client.act(REORDER, {"jobId": str(b.job_id), "priority": 0}).json()["updatedJobs"] == 1
    assert order() == [str(b.job_id), str(a.job_id)]


def test_another_queue_version_is_a_conflict_that_tells_the_present_one(client):
    a, b = (str(make_job().job_id) for _ in range(2))
    version = client.act(REORDER, {"jobIds": [b, a]}).json()["queueVersion"]

    stale = client.act(REORDER, {"jobId": a, "before": b, "queueVersion": version - 1})
    fresh = client.act(REORDER, {"jobId": a, "before": b, "queueVersion": version})

    assert stale.status_code == 409
    assert stale.json()["queueVersion"] == version
    assert fresh.status_code == 200
    assert fresh.json()["queueVersion"] > version


JOB, OTHER = str(uuid4()), str(uuid4())


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"jobIds": []},
        {"jobIds": [JOB, JOB]},
        {"jobIds": ["x"]},
        {"jobIds": JOB},
        {"jobIds": [JOB], "priority": 1},
        {"jobId": JOB},
        {"jobId": JOB, "before": OTHER, "after": OTHER},
        {"jobId": JOB, "priority": 1, "before": OTHER},
        {"jobId": JOB, "priority": -1},
        {"jobId": JOB, "priority": 1001},
        {"jobId": JOB, "priority": "high"},
        {"jobId": JOB, "before": JOB},
        {"jobId": JOB, "before": "x"},
        {"priority": 1},
    ],
)
def test_a_body_that_is_none_of_the_three_is_refused(client, body):
    assert client.act(REORDER, body).status_code == 400


def test_somebody_elses_jobs_stay_where_they_are(as_bob, ada, bob):
    of_ada, of_bob = make_job(by=ada), make_job(by=bob)

    listed = as_bob.act(REORDER, {"jobIds": [str(of_ada.job_id)]})
    placed = as_bob.act(REORDER, {"jobId": str(of_ada.job_id), "priority": 1000})
    beside = as_bob.act(REORDER, {"jobId": str(of_bob.job_id), "before": str(of_ada.job_id)})

    assert listed.json() == listed.json() | {"updatedJobs": 0, "ignored": [str(of_ada.job_id)]}
    assert placed.status_code == 404
    assert beside.status_code == 404
    assert order() == [str(of_ada.job_id), str(of_bob.job_id)]


def test_reordering_is_posted(client):
    assert client.get(REORDER).status_code == 405


def test_a_thousand_waiting_jobs_cost_no_more_statements(client, django_assert_max_num_queries):
    a, b, *_ = [make_job() for _ in range(30)]
    client.act(REORDER, {"jobIds": [str(b.job_id), str(a.job_id)]})

    with django_assert_max_num_queries(16):
        client.act(REORDER, {"jobId": str(a.job_id), "before": str(b.job_id)})

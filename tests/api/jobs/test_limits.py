"""GET and POST limits"""

import pytest

from jobs.models import Job, JobEvent, Queue
from tests.workbench.rows import make_job

pytestmark = pytest.mark.django_db

LIMITS = "/api/perspectives/batch/limits"


def default_of(response) -> dict:
    assert response.status_code == 200, response.content
    return next(queue for queue in response.json()["queues"] if queue["name"] == "default")


def test_limits_are_those_of_the_environment_until_changed(client, settings):
    settings.MAX_CONCURRENT_JOBS = 7

    found = client.get(LIMITS).json()

    assert [queue["name"] for queue in found["queues"]] == ["default", "heavy"]
    assert found["queues"][0] == {
        "name": "default",
        "paused": False,
        "maxConcurrentJobs": 7,
        "maxConcurrentItems": settings.MAX_CONCURRENT_ITEMS,
    }


def test_a_higher_limit_lets_more_jobs_run_at_once(client, settings):
    settings.MAX_CONCURRENT_JOBS = 1
    jobs = [make_job() for _ in range(3)]

    found = default_of(client.act(LIMITS, {"maxConcurrentJobs": 2}))

    assert found["maxConcurrentJobs"] == 2
    statuses = Job.objects.filter(pk__in=[job.pk for job in jobs]).in_order().values_list("status", flat=True)
    assert list(statuses) == ["running", "running", "pending"]


def test_what_is_not_named_stays_and_null_gives_the_environment_back(client, settings):
    settings.MAX_CONCURRENT_ITEMS = 4
    client.act(LIMITS, {"maxConcurrentItems": 9})
    client.act(LIMITS, {"maxConcurrentJobs": 3})

    assert default_of(client.get(LIMITS))["maxConcurrentItems"] == 9
    assert default_of(client.act(LIMITS, {"maxConcurrentItems": None}))["maxConcurrentItems"] == 4


def test_a_paused_queue_starts_nothing_until_it_goes_on(client):
    assert default_of(client.act(LIMITS, {"paused": True}))["paused"] is True
    job = make_job()
    assert Job.objects.get(pk=job.pk).status == "pending"

    assert default_of(client.act(LIMITS, {"paused": False}))["paused"] is False
    assert Job.objects.get(pk=job.pk).status == "running"


def test_the_heavy_queue_has_limits_of_its_own(client):
    client.act(LIMITS, {"queue": "heavy", "maxConcurrentJobs": 0})

    assert Queue.objects.get(pk="heavy").max_jobs == 0
    assert Queue.objects.get(pk="default").max_jobs is None


def test_a_change_is_an_event_with_its_author(as_staff, staff):
    as_staff.act(LIMITS, {"maxConcurrentJobs": 5})

    event = JobEvent.objects.get(type="LIMITS_CHANGED")
    assert event.user == staff
    assert event.data["maxConcurrentJobs"] == 5


@pytest.mark.parametrize(
    "body",
    [
        None, {}, {"queue": "default"}, {"queue": "other", "paused": True}, {"maxConcurrentJobs": -1},
        {"maxConcurrentJobs": 65}, {"maxConcurrentItems": 0}, {"maxConcurrentItems": 65}, {"paused": "perhaps"},
        {"paused": None}, {"maxConcurrentJobs": "two"},
    ],
)  # fmt: skip
def test_an_invalid_change_is_refused(client, body):
    assert client.act(LIMITS, body).status_code == 400
    assert not JobEvent.objects.filter(type="LIMITS_CHANGED").exists()


def test_limits_are_not_deleted(client):
    assert client.delete(LIMITS).status_code == 405

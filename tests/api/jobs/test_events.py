"""GET events/{jobId} and events/queue: the polling twin of the sockets"""

from uuid import uuid4

import pytest

from jobs.models import EventStream, Queue
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db

EVENTS = "/api/perspectives/batch/events"
ENVELOPE = {"messageId", "sequence", "type", "jobId", "timestamp", "data"}


@pytest.fixture(autouse=True)
def _publish_at_once(monkeypatch):
    monkeypatch.setattr("jobs.outbox.PUBLISH_INTERVAL_SECONDS", 0.0)


def test_events_come_numbered_from_one_in_order(client):
    job = make_job(2)
    work()

    answer = client.get(f"{EVENTS}/{job.job_id}").json()

    events = answer["events"]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "JOB_CREATED"
    assert events[-1]["type"] == "JOB_COMPLETED"
    assert all(set(event) == ENVELOPE and event["jobId"] == str(job.job_id) for event in events)
    assert answer["sequence"] == len(events)
    assert answer["next"] is None


def test_after_gives_only_what_is_newer(client):
    job = make_job()
    known = client.get(f"{EVENTS}/{job.job_id}").json()["sequence"]
    job.pause(by=None)

    assert [e["type"] for e in client.get(f"{EVENTS}/{job.job_id}?after={known}").json()["events"]] == ["JOB_PAUSED"]
    assert client.get(f"{EVENTS}/{job.job_id}?after={known + 1}").json()["events"] == []


def test_pages_lead_through_all_events_once(client):
    job = make_job()
    for _ in range(3):
        job.pause(by=None)
        job.resume(by=None)
    everything = client.get(f"{EVENTS}/{job.job_id}").json()["events"]

    read, after = [], 0
    while after is not None:
        answer = client.get(f"{EVENTS}/{job.job_id}?after={after}&limit=2").json()
        read += answer["events"]
        after = answer["next"]

    assert read == everything


def test_the_queue_has_events_of_its_own(client):
    before = EventStream.objects.get(job=None).sequence

    Queue.objects.get(pk="default").pause(by=None)

    events = client.get(f"{EVENTS}/queue?after={before}").json()["events"]
    assert [event["type"] for event in events] == ["LIMITS_CHANGED"]
    assert events[0]["jobId"] is None


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=99999999999999999999", "limit=0", "since=1"])
def test_a_parameter_that_is_not_understood_is_refused(client, query):
    assert client.get(f"{EVENTS}/{make_job().job_id}?{query}").status_code == 400
    assert client.get(f"{EVENTS}/queue?{query}").status_code == 400


def test_missing_malformed_and_foreign_jobs_are_not_found(as_bob, ada):
    for job_id in (uuid4(), "nonsense", make_job(by=ada).job_id):
        assert as_bob.get(f"{EVENTS}/{job_id}").status_code == 404


def test_events_are_read_not_posted(client):
    assert client.act(f"{EVENTS}/{make_job().job_id}").status_code == 405


def test_the_number_of_queries_does_not_grow(client, django_assert_max_num_queries):
    job = make_job()
    for _ in range(20):
        job.pause(by=None)
        job.resume(by=None)
    client.get(f"{EVENTS}/{job.job_id}")

    with django_assert_max_num_queries(6):
        assert len(client.get(f"{EVENTS}/{job.job_id}").json()["events"]) > 40

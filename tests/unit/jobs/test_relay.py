"""The background threads of a web process, in this one, on a real database that cuts them off."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django_q.models import OrmQ

from jobs import canary
from jobs.models import EventStream, Job, JobEvent
from jobs.relay import Relay
from jobs.states import EventType
from tests.workbench.rows import make_job
from tests.workbench.waiting import wait_until
from tests.workbench.web import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def unstarted(settings) -> Iterator[Relay]:
    settings.DATABASE_DIRECT_URL = database_url()
    settings.CANARY_SECONDS = 0.1
    relay = Relay()
    yield relay
    relay.stop()


@pytest.fixture
def relay(unstarted) -> Relay:
    unstarted.start()
    return unstarted


def make_unpublished_job(n_events: int = 1) -> Job:
    """Make a job with events that nobody publishes after their commit, as a killed worker leaves them."""
    job = make_job()
    JobEvent.objects.bulk_create(JobEvent(job=job, type=EventType.JOB_PAUSED) for _ in range(n_events))
    return job


def is_published(job: Job) -> bool:
    return not JobEvent.objects.filter(job=job, sequence=None).exists()


def cut_everybody_off() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def n_canaries(cluster: str) -> int:
    return sum(row.func() == canary.BEAT for row in OrmQ.objects.filter(key=cluster))


def test_it_publishes_what_nobody_published_after_a_commit(relay):
    job, other = make_unpublished_job(3), make_unpublished_job(1)

    wait_until(lambda: is_published(job) and is_published(other))

    assert EventStream.objects.get(job=job).sequence == 5


def test_it_goes_on_after_the_database_cut_it_off(relay):
    for _ in range(3):
        cut_everybody_off()
        job = make_unpublished_job()
        wait_until(lambda job=job: is_published(job))


def test_it_keeps_one_canary_waiting_in_each_cluster(relay):
    wait_until(lambda: [n_canaries(name) for name in ("default", "vision", "heavy")] == [1, 1, 1])
    OrmQ.objects.filter(key="vision").delete()

    wait_until(lambda: n_canaries("vision") == 1)

    assert n_canaries("default") == 1


def test_a_stream_that_cannot_be_published_does_not_hold_up_the_others(relay, caplog):
    poisoned = make_job()
    # A row that cannot get its number, whatever the reason.
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE jobs_jobevent ADD CONSTRAINT poison CHECK (sequence IS NULL OR data <> '{\"poison\": 1}')"
        )
    try:
        JobEvent.objects.create(job=poisoned, type=EventType.JOB_PAUSED, data={"poison": 1})
        job = make_unpublished_job()

        wait_until(lambda: is_published(job))
        wait_until(lambda: "cannot be published" in caplog.text)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE jobs_jobevent DROP CONSTRAINT poison")

    assert not is_published(poisoned)

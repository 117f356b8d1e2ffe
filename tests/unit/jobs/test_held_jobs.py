"""Jobs that wait for somebody outside the queue, and what the queue announces when a job closes."""

import threading

import pytest
from django.db import connection, transaction

from jobs.models import Job, JobEvent
from jobs.pipelines import Permanent, registry
from jobs.reconcile import reconcile
from jobs.signals import job_closed
from jobs.steps import TransitionRefused
from tests.workbench.rows import make_job, statuses, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def closed():
    """List what job_closed told."""
    jobs = []

    def note(sender, job, **kwargs):
        jobs.append((job.pk, job.status))

    job_closed.connect(note)
    yield jobs
    job_closed.disconnect(note)


def test_a_held_job_waits_whatever_repairs_come_by():
    job = make_job(2, held=True)

    work()
    reconcile()
    work()

    job.refresh_from_db()
    assert (job.status, statuses(job)) == ("waiting", ["pending", "pending"])


def test_a_released_job_runs():
    job = make_job(2, held=True)

    assert job.release()
    work()

    job.refresh_from_db()
    assert job.status == "completed"


def test_a_job_that_nobody_holds_is_not_released():
    job = make_job(1)
    n_events = JobEvent.objects.filter(job=job).count()

    assert not job.release()

    assert JobEvent.objects.filter(job=job).count() == n_events


def test_a_released_job_still_waits_for_its_dependencies():
    first = make_job(1, held=True)
    second = make_job(1, held=True, dependencies=[first.job_id])

    second.release()
    second.refresh_from_db()
    assert second.status == "waiting"

    first.release()
    work()
    second.refresh_from_db()
    assert second.status == "completed"


def test_a_dependency_that_is_done_does_not_let_a_held_job_go():
    first = make_job(1)
    second = make_job(1, held=True, dependencies=[first.job_id])

    work()

    second.refresh_from_db()
    assert second.status == "waiting"


def test_many_releases_at_once_start_the_job_once():
    job = make_job(1, held=True)
    gate = threading.Barrier(6)
    released = []

    def release():
        gate.wait()
        released.append(Job.objects.get(pk=job.pk).release())
        connection.close()

    threads = [threading.Thread(target=release) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(released) == [False] * 5 + [True]
    assert JobEvent.objects.filter(job=job, type="JOB_READY").count() == 1


def test_a_release_that_is_taken_back_leaves_the_job_held():
    job = make_job(1, held=True)

    with transaction.atomic():
        job.release()
        transaction.set_rollback(True)

    job.refresh_from_db()
    assert (job.held, job.status) == (True, "waiting")


def test_a_held_job_can_be_cancelled_and_is_not_released_then():
    job = make_job(1, held=True)

    job.cancel(by=None)

    assert not job.release()
    job.refresh_from_db()
    assert job.status == "cancelled"


def test_closing_is_announced_once(closed):
    done, cancelled = make_job(1), make_job(1, held=True)

    work()
    cancelled.cancel(by=None)
    with pytest.raises(TransitionRefused):
        cancelled.cancel(by=None)

    assert closed == [(done.pk, "completed"), (cancelled.pk, "cancelled")]


def test_a_listener_that_fails_does_not_undo_the_closing(closed):
    def fail(sender, **kwargs):
        raise ZeroDivisionError

    job_closed.connect(fail)
    try:
        job = make_job(1)
        work()
    finally:
        job_closed.disconnect(fail)

    job.refresh_from_db()
    assert job.status == "completed"


def test_a_job_whose_done_items_come_to_nothing_has_failed(monkeypatch):
    def collect(job):
        raise Permanent("Half of it is of no use.")

    monkeypatch.setattr(registry["workbench"], "collect", collect)
    job = make_job([{}, {"do": "permanent"}])

    work()

    job.refresh_from_db()
    assert (job.status, statuses(job)) == ("failed", ["completed", "failed"])
    assert JobEvent.objects.filter(job=job, type="JOB_FAILED").count() == 1

"""A job closes once all its items have, and no later and no earlier, whatever happens at that moment."""

import threading
from functools import partial

import pytest
from django.db import connection

from jobs import lanes
from jobs.lanes import Settlement
from jobs.models import Job, JobItem
from jobs.pipelines import RetryLater, registry
from jobs.reconcile import reconcile
from jobs.slices import later
from jobs.states import ItemStatus, JobStatus
from tests.workbench.rows import assert_counters_are_exact, counted, make_due, make_job, statuses, work

pytestmark = pytest.mark.django_db(transaction=True)


def meanwhile(act):
    """Do something over another connection."""

    def run():
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def send_back(lane, item):
    lanes.step(lane, [later(item, RetryLater("not yet"), 1)], batch=0)
    lanes.free(lane.token)


@pytest.mark.parametrize("n_looks", [1, 2])
def test_an_item_that_goes_back_while_others_look_keeps_its_job_open(n_looks):
    job = make_job(2)
    first, second = (lanes.take(owner="me", cluster="default") for _ in range(2))
    done, running = (lanes.step(lane, batch=1).items[0] for lane in (first, second))
    lanes.step(first, [Settlement(done, ItemStatus.COMPLETED)], batch=0)
    lanes.free(first.token)
    looks = []

    def watch(execute, statement, parameters, many, context):
        found = execute(statement, parameters, many, context)
        if "jobs_jobitem" in statement:
            looks.append(statement)
            if len(looks) == n_looks:
                meanwhile(partial(send_back, second, running))
        return found

    with connection.execute_wrapper(watch):
        Job.objects.get(pk=job.pk).settle()
    Job.objects.get(pk=job.pk).settle()

    assert len(looks) >= n_looks
    assert statuses(job) == ["completed", "waiting"]
    assert counted(job).status == JobStatus.PENDING
    make_due()
    work()
    assert counted(job).status == JobStatus.COMPLETED


@pytest.mark.parametrize("fault", ["bug", "not a number"])
def test_a_job_whose_result_cannot_be_collected_fails_and_holds_nobody_up(monkeypatch, fault):
    def collect(job):
        return float("nan") if fault == "not a number" else {}["missing"]

    monkeypatch.setattr(registry["workbench"], "collect", collect)
    job, following = make_job(1), make_job(1, pipeline="silent")

    work()
    reconcile()

    assert (counted(job).status, counted(job).result) == (JobStatus.FAILED, None)
    assert counted(following).status == JobStatus.COMPLETED


def test_a_collected_result_may_hold_any_text(monkeypatch):
    monkeypatch.setattr(registry["workbench"], "collect", lambda job: {"said": "a\0b\ud800"})
    job = make_job(1)

    work()

    assert counted(job).result == {"said": "ab"}


def test_cancel_of_a_large_job_refuses_the_late_result_of_any_item(monkeypatch):
    monkeypatch.setattr("jobs.steps.CLOSE_STEP", 4)
    monkeypatch.setattr("jobs.reconcile.CLOSE_STEP", 4)
    job = make_job(10)
    JobItem.objects.filter(job=job, seq__lt=6).update(status="waiting")
    lane = lanes.take(owner="slow", cluster="default")
    late = lanes.step(lane, batch=1).items[0]

    job.cancel(by=None)
    lanes.step(lane, [Settlement(late, ItemStatus.COMPLETED)], batch=0)
    reconcile()

    assert statuses(job) == ["cancelled"] * 10
    job.refresh_from_db()
    assert job.cancelled_images == 10
    assert_counters_are_exact(job)

"""Items that build on others: each source lets them go once, whatever is retried meanwhile."""

import threading

import pytest
from django.db import connection, transaction

from jobs import lanes
from jobs.lanes import Settlement
from jobs.models import Job, JobItem, Lane
from jobs.pipelines import Permanent, RetryLater
from jobs.reconcile import reconcile
from jobs.slices import later
from jobs.states import ItemStatus, JobStatus
from tests.workbench.rows import (
    assert_counters_are_exact,
    counted,
    expire_leases,
    make_due,
    make_job,
    statuses,
    work,
)
from tests.workbench.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def claim():
    """Take a lane and one item of the only job."""
    lane = lanes.take(owner="me", cluster="default")
    return lane, lanes.step(lane, batch=1).items[0]


def complete(lane, item):
    lanes.step(lane, [Settlement(item, ItemStatus.COMPLETED)], batch=0)
    lanes.free(lane.token)


def fail(lane, item):
    lanes.step(lane, [later(item, Permanent("no"), 1)], batch=0)
    lanes.free(lane.token)


def retry(job):
    Job.objects.get(pk=job.pk).retry_failed(by=None)


def blocked_by(job):
    return list(JobItem.objects.filter(job=job).order_by("seq").values_list("blocked_by", flat=True))


def test_a_retried_source_does_not_let_go_what_still_waits_for_another():
    job = make_job([{}, {}, {"depends_on": [0, 1]}], on_failed_dependency="run")
    first, second = claim(), claim()
    fail(*first)

    retry(job)
    assert (statuses(job)[2], blocked_by(job)[2]) == ("waiting", 2)
    complete(*claim())

    assert statuses(job) == ["completed", "running", "waiting"]
    complete(*second)
    assert statuses(job) == ["completed", "completed", "pending"]


def test_what_was_let_go_but_not_begun_waits_for_a_retried_source():
    job = make_job([{}, {"depends_on": [0]}], on_failed_dependency="run")
    fail(*claim())
    assert statuses(job) == ["failed", "pending"]

    retry(job)
    assert statuses(job) == ["pending", "waiting"]

    work()
    assert statuses(job) == ["completed", "completed"]
    assert_counters_are_exact(job)


@pytest.mark.parametrize("then", ["in its backoff", "running"])
def test_what_has_begun_already_outlives_a_retried_source(then):
    job = make_job([{}, {"depends_on": [0]}], on_failed_dependency="run")
    fail(*claim())
    lane, begun = claim()
    if then == "running":
        retry(job)
    lanes.step(lane, [later(begun, RetryLater("not yet"), 1)], batch=0)
    lanes.free(lane.token)
    if then == "in its backoff":
        retry(job)

    make_due()
    complete(*claim())
    assert blocked_by(job) == [0, 0]

    reconcile()
    work()
    assert counted(job).status == JobStatus.COMPLETED
    assert_counters_are_exact(job)


def test_a_lane_that_cannot_be_recovered_stops_no_other(settings, caplog):
    settings.LEASE_SECONDS = 0.01
    broken = make_job([{}, {"depends_on": [0]}], on_failed_dependency="run", max_attempts=1)
    sound = make_job(1)
    claim(), claim()
    JobItem.objects.filter(job=broken, seq=1).update(blocked_by=0)  # one fewer than what it waits for
    expire_leases()

    freed = lanes.recover()

    assert freed == [sound.pk]
    assert statuses(sound) == ["pending"]
    assert Lane.objects.filter(job=broken, token__isnull=False).count() == 1
    assert [(record.levelname, record.job) for record in caplog.records if record.name == "jobs.lanes"] == [
        ("ERROR", str(broken.job_id))
    ]


@pytest.mark.parametrize("n_failed", [0, 10])
def test_dependents_are_locked_in_one_order_so_that_lanes_never_wait_in_a_circle(n_failed):
    n_sources, n_dependents, second = 20, 400, 21
    sources = [{} for _ in range(n_sources)]
    job = make_job([*sources, *({"depends_on": [n % n_sources, (n + 7) % n_sources]} for n in range(n_dependents))])
    JobItem.objects.filter(job=job, seq=second).update(payload={"now": "the last row of the table"})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_jobitem, jobs_itemedge")  # for a plan that reads the table in its own order
    lane = lanes.take(owner="me", cluster="default")
    items = lanes.step(lane, batch=n_sources).items

    def settle():
        try:
            outcomes = [ItemStatus.FAILED] * n_failed + [ItemStatus.COMPLETED] * (n_sources - n_failed)
            lanes.step(lane, [Settlement(*settled) for settled in zip(items, outcomes, strict=True)], batch=0)
        finally:
            connection.close()

    thread = threading.Thread(target=settle)
    with transaction.atomic():
        JobItem.objects.select_for_update().get(job=job, seq=second)
        thread.start()
        wait_until(_somebody_waits_for_a_row, what="the lane to reach the locked item")
        free = JobItem.objects.select_for_update(skip_locked=True).filter(job=job, seq__gt=second)
        assert len(free) == n_dependents - 2
    thread.join()

    assert "waiting" not in statuses(job)
    assert_counters_are_exact(job)


def _somebody_waits_for_a_row():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')")
        return cursor.fetchone()[0]

"""A slice from its Django-Q task to the closed job, on real rows."""

import pytest

from jobs import lanes
from jobs.models import Job, JobEvent, JobItem, Lane, Queue
from jobs.reconcile import reconcile
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

pytestmark = pytest.mark.django_db(transaction=True)


def raw_events(job):
    return list(JobEvent.objects.filter(job=job).order_by("created_at", "id").values_list("type", flat=True))


def test_a_job_runs_all_its_items_and_completes():
    job = make_job(20)

    work()

    job = counted(job)
    assert (job.status, job.n_completed, job.progress) == (JobStatus.COMPLETED, 20, 100)
    assert job.started_at <= job.completed_at
    assert set(JobItem.objects.filter(job=job).values_list("attempts", flat=True)) == {1}
    assert JobItem.objects.get(job=job, seq=3).result == {"seq": 3}
    assert_counters_are_exact(job)


def test_some_failed_items_make_the_job_partial_and_all_failed_make_it_failed():
    partial = make_job([{}, {"do": "permanent"}])
    failed = make_job([{"do": "permanent"}, {"do": "bug"}])

    work()

    assert counted(partial).status == JobStatus.PARTIAL
    assert counted(failed).status == JobStatus.FAILED
    never, bug = JobItem.objects.filter(job=failed).order_by("seq")
    assert (never.error, never.error_code, never.error_permanent) == ("It will never do.", "never", True)
    assert (bug.error_code, bug.error) == ("unexpected", "Unexpected fault: ZeroDivisionError: a bug")
    assert_counters_are_exact(partial)


def test_a_retryable_failure_waits_gives_its_place_back_and_then_succeeds():
    job = make_job([{"do": "retry", "times": 1}])

    work()

    item = JobItem.objects.get(job=job)
    assert (item.status, item.attempts, item.error_code) == (ItemStatus.WAITING, 1, "not_yet")
    assert item.run_after is not None
    assert counted(job).status == JobStatus.PENDING

    make_due()
    work()

    assert counted(job).status == JobStatus.COMPLETED
    assert JobItem.objects.get(job=job).attempts == 2


def test_attempts_end_and_the_item_fails_with_the_last_reason():
    job = make_job([{"do": "retry", "times": 99}], max_attempts=2)

    work()
    make_due()
    work()

    item = JobItem.objects.get(job=job)
    assert (item.status, item.attempts, item.error, item.error_permanent) == ("failed", 2, "Not yet.", False)
    assert counted(job).status == JobStatus.FAILED


def test_an_outage_costs_no_attempt(tmp_path):
    job = make_job([{"do": "outage", "marker": str(tmp_path / "seen")}], max_attempts=1)

    work()
    make_due()
    work()

    assert counted(job).status == JobStatus.COMPLETED
    assert JobItem.objects.get(job=job).attempts == 1


def test_a_full_disk_is_an_outage_whatever_the_pipeline():
    job = make_job([{"do": "fill"}], max_attempts=1)

    work()

    item = JobItem.objects.get(job=job)
    assert (item.status, item.attempts, item.error_code) == (ItemStatus.WAITING, 0, "disk_full")
    assert item.error == "The disk has no room; free some."


def test_no_more_jobs_run_than_the_queue_allows():
    Queue.objects.filter(pk="default").update(max_jobs=1)
    first, second = make_job(1), make_job(1)

    assert [counted(job).status for job in (first, second)] == [JobStatus.RUNNING, JobStatus.PENDING]
    assert counted(second).position == 1


def test_a_raised_limit_starts_the_next_job_at_once():
    queue = Queue.objects.get(pk="default")
    queue.set_limits(max_jobs=1, max_items=2, by=None)
    make_job(1)
    second = make_job(1)

    queue.set_limits(max_jobs=2, max_items=3, by=None)

    assert counted(second).status == JobStatus.RUNNING
    assert set(Lane.objects.filter(retired=False).values_list("job_id", "n")) == {
        (job.pk, n) for job in Job.objects.all() for n in range(3)
    }


def test_a_lowered_limit_retires_lanes_and_a_held_one_drains():
    job = make_job(10)
    held = [lanes.take(owner="me", cluster="default") for _ in range(4)]
    items = [lanes.step(lane, batch=1).items for lane in held]

    Queue.objects.get(pk="default").set_limits(max_jobs=None, max_items=1, by=None)

    stops = [
        lanes.step(lane, [lanes.Settlement(item, ItemStatus.COMPLETED) for item in claimed], batch=1).stop
        for lane, claimed in zip(held, items, strict=True)
    ]
    assert stops == [False, True, True, True]
    assert counted(job).n_completed == 4


def test_a_paused_queue_starts_nothing_and_resumes():
    queue = Queue.objects.get(pk="default")
    queue.pause(by=None)
    job = make_job(1)

    work()
    assert counted(job).status == JobStatus.PENDING

    queue.resume(by=None)
    work()
    assert counted(job).status == JobStatus.COMPLETED


def test_the_job_with_the_lower_priority_number_goes_first(tmp_path):
    Queue.objects.filter(pk="default").update(max_jobs=1)
    log = tmp_path / "log"
    blocker = make_job(1)
    make_job([{}] * 2, priority=200, config={"log": str(log), "name": "late"})
    make_job([{}], priority=50, config={"log": str(tmp_path / "early")})

    work()

    assert counted(blocker).status == JobStatus.COMPLETED
    assert (tmp_path / "early").stat().st_mtime_ns < log.stat().st_mtime_ns


def test_dependents_of_an_item_run_after_it_and_in_no_other_order(tmp_path):
    log = tmp_path / "log"
    job = make_job([{}, {}, {"depends_on": [0, 1]}, {"depends_on": [2]}], config={"log": str(log)})
    assert statuses(job) == ["pending", "pending", "waiting", "waiting"]

    work()

    assert counted(job).status == JobStatus.COMPLETED
    ran = [int(line.split()[0]) for line in log.read_text().splitlines()]
    assert sorted(ran[:2]) == [0, 1]
    assert ran[2:] == [2, 3]


def test_dependents_of_a_failed_item_fail_with_it_and_come_back_with_it():
    job = make_job([{"do": "permanent"}, {"depends_on": [0]}, {"depends_on": [1]}, {}])

    work()

    assert statuses(job) == ["failed", "failed", "failed", "completed"]
    assert JobItem.objects.get(job=job, seq=2).error_code == "dependency_failed"
    assert_counters_are_exact(job)

    JobItem.objects.filter(job=job, seq=0).update(payload={})
    last = JobItem.objects.get(job=job, seq=2)
    assert job.retry_failed(by=None, item_ids=[last.pk]) == 3
    work()

    assert counted(job).status == JobStatus.COMPLETED
    assert_counters_are_exact(job)


def test_dependents_run_anyway_where_the_job_says_so():
    job = make_job([{"do": "permanent"}, {"depends_on": [0]}], on_failed_dependency="run")

    work()

    assert statuses(job) == ["failed", "completed"]


def test_a_zombie_past_its_lease_changes_nothing(settings):
    job = make_job(3)
    zombie = lanes.take(owner="zombie", cluster="default")
    item = lanes.step(zombie, batch=1).items[0]
    settings.LEASE_SECONDS = 0.01
    expire_leases()
    lanes.recover()

    with pytest.raises(lanes.LaneLost):
        lanes.step(zombie, [lanes.Settlement(item, ItemStatus.COMPLETED)], batch=1)

    assert statuses(job) == ["pending"] * 3
    assert JobItem.objects.get(pk=item.id).attempts == 1  # the death counts
    assert_counters_are_exact(job)


def test_a_worker_lost_with_several_items_blames_none_and_goes_on_one_by_one(settings):
    job = make_job(5)
    lane = lanes.take(owner="lost", cluster="default")
    assert len(lanes.step(lane, batch=3).items) == 3
    settings.LEASE_SECONDS = 0.01
    expire_leases()

    lanes.recover()

    assert set(JobItem.objects.filter(job=job).values_list("attempts", flat=True)) == {0}
    assert counted(job).max_batch == 1


def test_an_item_that_kills_its_worker_fails_after_its_attempts(settings):
    settings.LEASE_SECONDS = 0.01
    job = make_job(2, max_attempts=3)
    for _ in range(3):
        lane = lanes.take(owner="lost", cluster="default")
        lanes.step(lane, batch=1)
        expire_leases()
        lanes.recover()

    settings.LEASE_SECONDS = 30
    reconcile()
    work()

    assert statuses(job) == ["failed", "completed"]
    assert JobItem.objects.get(job=job, seq=0).error_code == "worker_lost"
    assert counted(job).status == JobStatus.PARTIAL
    assert_counters_are_exact(job)


def test_fifty_copies_of_a_slice_do_the_work_once(tmp_path):
    from jobs import wake

    job = make_job(30, config={"log": str(tmp_path / "log")})
    wake.workers("default", 50)

    work()

    assert counted(job).status == JobStatus.COMPLETED
    assert len((tmp_path / "log").read_text().splitlines()) == 30


def test_a_lost_task_is_replaced_by_reconcile():
    from django_q.models import OrmQ

    job = make_job(3)
    OrmQ.objects.all().delete()

    reconcile()
    work()

    assert counted(job).status == JobStatus.COMPLETED


def test_costs_add_up_and_stay_unknown_where_nobody_knows():
    paid = make_job([{"cost_usd": "0.25"}, {}, {"cost_usd": "0.5"}])
    free = make_job(1)

    work()

    assert float(counted(paid).total_cost_usd) == 0.75
    assert counted(free).total_cost_usd is None


def test_a_drained_worker_gives_back_what_it_did_not_begin(settings, tmp_path):
    settings.DRAIN_FILE = tmp_path / "drain"
    job = make_job(5)
    settings.DRAIN_FILE.touch()

    work()

    assert statuses(job) == ["pending"] * 5
    settings.DRAIN_FILE.unlink()
    reconcile()
    work()
    assert counted(job).status == JobStatus.COMPLETED


def test_items_that_share_work_are_claimed_together_by_one_worker(monkeypatch):
    claims = []
    step = lanes.step

    def watched(lane, settlements=(), *, batch, perspectives=None):
        made = step(lane, settlements, batch=batch, perspectives=perspectives)
        claims.append(len(made.items))
        return made

    monkeypatch.setattr(lanes, "step", watched)
    make_job([{"sleep_seconds": 0.15}] * 6, config={"together": 3})

    work()

    assert [n for n in claims if n] == [3, 3]

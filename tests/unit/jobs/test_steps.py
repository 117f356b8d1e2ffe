"""What can be done to a job, and what is refused."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from jobs import lanes
from jobs.creation import JobDraft, UnknownDependency, create, estimated_start
from jobs.models import Job, JobArchive, JobEvent, JobItem, Queue
from jobs.pipelines import registry
from jobs.reconcile import close_items_of_cancelled, reconcile
from jobs.states import ItemStatus, JobStatus
from jobs.steps import TransitionRefused
from orchestrator.problems import Invalid
from tests.workbench.rows import assert_counters_are_exact, counted, make_job, make_user, statuses, work

pytestmark = pytest.mark.django_db(transaction=True)


def types(job):
    return set(JobEvent.objects.filter(job=job).values_list("type", flat=True))


def test_cancel_closes_open_items_at_once_and_refuses_the_late_result():
    job = make_job(3)
    lane = lanes.take(owner="slow", cluster="default")
    late = lanes.step(lane, batch=1).items[0]

    job.cancel(by=None, reason="wrong pictures")

    assert statuses(job) == ["cancelled"] * 3
    assert counted(job).progress == 100
    step = lanes.step(lane, [lanes.Settlement(late, ItemStatus.COMPLETED)], batch=1)
    assert step.stop
    assert not step.items
    assert statuses(job) == ["cancelled"] * 3
    assert "JOB_CANCELLED" in types(job)
    assert_counters_are_exact(job)


def test_a_cancelled_job_keeps_its_place_until_its_worker_let_go():
    Queue.objects.filter(pk="default").update(max_jobs=1)
    job = make_job(1)
    waiting = make_job(1)
    lane = lanes.take(owner="slow", cluster="default")
    lanes.step(lane, batch=1)

    job.cancel(by=None)
    assert counted(waiting).status == JobStatus.PENDING

    lanes.free(lane.token)
    reconcile()
    assert counted(waiting).status == JobStatus.RUNNING


def test_cancel_refuses_a_finished_job():
    job = make_job(1)
    work()

    with pytest.raises(TransitionRefused, match="already completed"):
        Job.objects.get(pk=job.pk).cancel(by=None)


def test_cancel_of_a_large_job_closes_the_rest_in_steps(monkeypatch):
    monkeypatch.setattr("jobs.steps.CLOSE_STEP", 4)
    monkeypatch.setattr("jobs.reconcile.CLOSE_STEP", 4)
    job = make_job(10)

    job.cancel(by=None)
    assert statuses(job).count("cancelled") == 4

    close_items_of_cancelled(job.pk)
    assert statuses(job) == ["cancelled"] * 10
    assert_counters_are_exact(job)


def test_reconcile_closes_what_a_lost_task_left_of_a_cancelled_job(monkeypatch):
    monkeypatch.setattr("jobs.steps.CLOSE_STEP", 4)
    job = make_job(10)
    job.cancel(by=None)

    reconcile()

    assert statuses(job) == ["cancelled"] * 10


def test_pause_lets_running_items_finish_and_starts_no_new_ones():
    job = make_job(3)
    lane = lanes.take(owner="me", cluster="default")
    running = lanes.step(lane, batch=1).items[0]

    job.pause(by=None)
    step = lanes.step(lane, [lanes.Settlement(running, ItemStatus.COMPLETED)], batch=1)

    assert step.stop
    assert statuses(job) == ["completed", "pending", "pending"]
    lanes.free(lane.token)
    Job.objects.get(pk=job.pk).settle()
    assert counted(job).status == JobStatus.PENDING

    Job.objects.get(pk=job.pk).resume(by=None)
    work()
    assert counted(job).status == JobStatus.COMPLETED
    assert {"JOB_PAUSED", "JOB_RESUMED"} <= types(job)


def test_a_paused_job_gives_its_place_to_the_next():
    Queue.objects.filter(pk="default").update(max_jobs=1)
    job, following = make_job(1), make_job(1)

    job.pause(by=None)

    assert counted(following).status == JobStatus.RUNNING
    assert counted(job).paused


def test_a_job_that_is_paused_while_it_works_gives_its_place_back_with_its_last_running_item(monkeypatch):
    Queue.objects.filter(pk="default").update(max_jobs=1, max_items=1)
    job, following = make_job(3), make_job(1)
    run = registry["workbench"].run

    def pause(item, context):
        if context.job.id == job.pk:
            Job.objects.get(pk=job.pk).pause(by=None)
        return run(item, context)

    monkeypatch.setattr(registry["workbench"], "run", pause)

    work()

    assert (counted(job).status, statuses(job)) == (JobStatus.PENDING, ["completed", "pending", "pending"])
    assert counted(following).status == JobStatus.COMPLETED


def test_pausing_twice_is_one_event():
    job = make_job(1)
    job.pause(by=None)
    job.pause(by=None)

    assert JobEvent.objects.filter(job=job, type="JOB_PAUSED").count() == 1


def test_retry_failed_opens_the_job_again_at_the_end_of_the_queue():
    job = make_job([{"do": "permanent"}, {}])
    work()
    other = make_job(1, priority=100)
    job.refresh_from_db()
    version = job.version
    JobItem.objects.filter(job=job, seq=0).update(payload={})

    assert job.retry_failed(by=None) == 1

    assert job.completed_at is None
    assert job.version > version
    assert job.rank > Job.objects.get(pk=other.pk).rank
    assert counted(job).progress == 50
    work()
    assert counted(job).status == JobStatus.COMPLETED
    assert JobItem.objects.get(job=job, seq=0).attempts == 2
    assert_counters_are_exact(job)


def test_retry_failed_of_a_running_job_keeps_its_counters_exact():
    job = make_job([{"do": "permanent"}, {}, {}])
    lane = lanes.take(owner="me", cluster="default")
    item = lanes.step(lane, batch=1).items[0]
    lanes.step(lane, [lanes.Settlement(item, ItemStatus.FAILED, error="no", code="no")], batch=0)

    assert Job.objects.get(pk=job.pk).retry_failed(by=None) == 1

    assert_counters_are_exact(job)


def test_retry_failed_is_refused_where_nothing_failed_or_the_job_is_archived():
    job = make_job(1)
    work()
    job.refresh_from_db()
    with pytest.raises(TransitionRefused, match="no failed items"):
        job.retry_failed(by=None)

    failed = make_job([{"do": "permanent"}])
    work()
    failed.refresh_from_db()
    failed.archive(by=None)
    with pytest.raises(TransitionRefused, match="archived"):
        failed.retry_failed(by=None)


def test_retry_failed_names_items_that_did_not_fail():
    job = make_job([{"do": "permanent"}, {}])
    work()
    completed = JobItem.objects.get(job=job, seq=1)

    with pytest.raises(Invalid) as refused:
        Job.objects.get(pk=job.pk).retry_failed(by=None, item_ids=[completed.pk])

    assert str(completed.pk) in refused.value.errors["itemIds"][0]


def test_retrying_no_item_is_refused_and_leaves_the_job_finished():
    job = make_job([{"do": "permanent"}, {}])
    work()
    job.refresh_from_db()
    was = job.status, job.completed_at, job.version

    with pytest.raises(TransitionRefused, match="look again"):
        job.retry_failed(by=None, item_ids=[])

    job.refresh_from_db()
    assert (job.status, job.completed_at, job.version) == was
    assert "JOB_RETRIED" not in types(job)


def test_archive_and_restore_write_who_when_and_why():
    user = make_user()
    job = make_job([{"do": "permanent"}, {}], by=user)
    work()
    job.refresh_from_db()

    job.archive(by=user, reason="old")
    record = JobArchive.objects.get(job=job)
    assert (record.archived_by, record.reason, record.processed_images, record.failed_images) == (user, "old", 1, 1)
    assert record.archived_at == job.archive_date
    with pytest.raises(TransitionRefused):
        job.archive(by=user)

    rank = job.rank
    job.restore(by=user)
    record.refresh_from_db()
    assert (job.archived, job.archive_date, record.restored_by) == (False, None, user)
    assert job.rank > rank
    with pytest.raises(TransitionRefused):
        job.restore(by=user)


def test_archive_refuses_an_open_job():
    with pytest.raises(TransitionRefused, match="cancel it or let it finish"):
        make_job(1).archive(by=None)


def test_a_job_waits_for_the_jobs_it_depends_on():
    first = make_job(1)
    second = make_job(1, dependencies=[first.job_id])
    assert (second.status, [job.pk for job in second.blocking()]) == (JobStatus.WAITING, [first.pk])

    work()

    assert counted(second).status == JobStatus.COMPLETED
    assert "JOB_READY" in types(second)


def test_a_failed_or_cancelled_dependency_holds_a_job_until_it_is_retried():
    failing = make_job([{"do": "permanent"}])
    second = make_job(1, dependencies=[failing.job_id])
    work()
    assert counted(second).status == JobStatus.WAITING

    JobItem.objects.filter(job=failing).update(payload={})
    Job.objects.get(pk=failing.pk).retry_failed(by=None)
    work()

    assert counted(second).status == JobStatus.COMPLETED


def test_a_job_told_to_run_anyway_runs_after_a_cancelled_dependency():
    first = make_job(1)
    second = make_job(1, dependencies=[first.job_id], on_failed_dependency="run")

    first.cancel(by=None)
    work()

    assert counted(second).status == JobStatus.COMPLETED


def test_an_unknown_dependency_leaves_nothing_behind():
    import uuid

    with pytest.raises(UnknownDependency):
        make_job(1, dependencies=[uuid.uuid4()])

    assert not Job.objects.exists()
    assert not JobItem.objects.exists()


def test_somebody_elses_job_is_no_dependency():
    theirs = make_job(1, by=make_user("eve"))

    with pytest.raises(UnknownDependency):
        make_job(1, by=make_user("ada"), dependencies=[theirs.job_id])


def test_a_fault_while_reading_the_items_leaves_nothing_behind():
    def items():
        from jobs.pipelines import NewItem

        yield NewItem("a.jpg")
        raise OSError("the list broke off")

    with pytest.raises(OSError, match="broke off"):
        create(JobDraft(type="IMPORT", pipeline="workbench", items=items()), by=None)

    assert not Job.objects.exists()
    assert not JobEvent.objects.exists()


def test_the_estimated_start_follows_from_how_fast_the_last_jobs_went():
    assert estimated_start(100) <= timezone.now()  # nothing is ahead

    make_job(4)
    assert estimated_start(100) is None  # nothing has run that would tell

    work()
    Job.objects.update(started_at=F("completed_at") - timedelta(seconds=40))
    Queue.objects.update(paused=True)
    make_job(6)
    ahead = (estimated_start(100) - timezone.now()).total_seconds()
    assert 55 < ahead <= 60

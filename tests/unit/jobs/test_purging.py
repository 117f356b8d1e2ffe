"""Purging an archived job for good, and what stands in its way."""

import pytest

from jobs import purging
from jobs.models import Job, JobItem
from jobs.reconcile import reconcile
from jobs.states import JobStatus
from jobs.steps import TransitionRefused
from tests.workbench.rows import counted, make_job, work

pytestmark = pytest.mark.django_db(transaction=True)


def archived(items, *, cancelled=False):
    job = make_job(items)
    if cancelled:
        job.cancel(by=None)
    work()
    job.refresh_from_db()
    job.archive(by=None)
    return job


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_job_that_others_still_wait_for_is_not_purged(end):
    first = archived([{"do": "permanent"}], cancelled=end == "cancelled")
    assert first.status == end
    second = make_job(1, dependencies=[first.job_id])

    with pytest.raises(TransitionRefused, match="1 job waits for it"):
        purging.purge(first, by=None)
    reconcile()
    work()

    assert first.items.count() == 1
    assert counted(second).status == JobStatus.WAITING

    Job.objects.get(pk=second.pk).cancel(by=None)
    purging.purge(first, by=None)
    assert set(Job.objects.values_list("pk", flat=True)) == {second.pk}


@pytest.mark.parametrize("policy", ["wait", "run"])
def test_a_job_that_nobody_waits_for_any_more_is_purged(policy):
    first = archived([{}, {"do": "permanent"}])
    assert first.status == JobStatus.PARTIAL
    second = make_job(1, dependencies=[first.job_id], on_failed_dependency=policy, held=True)

    purging.purge(first, by=None)

    assert counted(second).status == JobStatus.WAITING
    second.release()
    work()
    assert counted(second).status == JobStatus.COMPLETED


def test_a_purge_stops_where_its_job_is_restored_meanwhile(monkeypatch):
    monkeypatch.setattr("jobs.purging._BATCH", 2)
    job = archived(5)
    assert purging.purge_step(job) == 2
    job.restore(by=None)

    with pytest.raises(TransitionRefused, match="archive it first"):
        purging.purge_step(job)

    assert JobItem.objects.filter(job=job).count() == 3


def test_purging_twice_is_refused():
    job = archived(1)
    purging.purge(job, by=None)

    with pytest.raises(TransitionRefused):
        purging.purge(job, by=None)

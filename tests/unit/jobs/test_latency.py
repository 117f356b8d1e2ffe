"""Latency: how long the attempts of a job that ended last took"""

from __future__ import annotations

import pytest

from jobs import latency
from jobs.models import Job
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db


def job_where(n_items, *, status, cursor, **times):
    """A job whose items have taken so many milliseconds, by the numbers of the items: `from_to=milliseconds`."""
    job = make_job(n_items)
    Job.objects.filter(pk=job.pk).update(status=status)
    job.lanes.filter(n=0).update(cursor=cursor)
    for span, milliseconds in times.items():
        first, last = span.removeprefix("_").split("_")
        job.items.filter(seq__range=(first, last)).update(processing_time=milliseconds)
    job.refresh_from_db()
    return job


def test_half_and_all_but_a_twentieth_of_the_attempts_were_this_fast():
    job = job_where(100, status="running", cursor=99, _0_89=1000, _90_99=9000)

    found = latency.of_job(job)

    assert found == latency.Latency(1.0, 9.0, 100)


def test_old_attempts_do_not_count_however_many_there_are():
    job = job_where(5000, status="running", cursor=4000, _0_3000=60_000, _3001_4000=2000)

    assert latency.of_job(job) == latency.Latency(2.0, 2.0, 1000)


def test_a_finished_job_is_measured_at_its_end_wherever_its_last_retry_was():
    job = job_where(50, status="completed", cursor=3, _0_3=60_000, _4_49=2000)

    found = latency.of_job(job)

    assert (found.p50_seconds, found.n_attempts) == (2.0, 50)


def test_a_cancelled_job_is_measured_where_it_was():
    job = job_where(5000, status="cancelled", cursor=9, _0_9=2000)

    assert latency.of_job(job) == latency.Latency(2.0, 2.0, 10)


def test_a_job_of_which_nothing_has_ended_has_no_latency():
    assert latency.of_job(make_job(3)) is None


def test_attempts_that_workers_made_are_measured():
    job = make_job([{}, {"do": "permanent"}])
    work()
    job.refresh_from_db()

    assert latency.of_job(job).n_attempts == 2

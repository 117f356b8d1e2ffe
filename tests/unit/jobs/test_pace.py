"""Position, pace and time left: told of every list of jobs in one way"""

from __future__ import annotations

import uuid
from datetime import timedelta
from unittest import mock

import pytest
from django.db.models import F
from django.db.models.functions import Now

from jobs import sql
from jobs.models import Job, Queue
from jobs.serializers import ItemSerializer, JobSerializer, for_clients, render_jobs
from jobs.states import JobStatus
from tests.workbench.rows import make_job

pytestmark = pytest.mark.django_db


def running(n_items, *, n_done, milliseconds, n_lanes=2, seconds_apart=None):
    """A job at work. seconds_apart: between the ends of its last items; None: they ended long ago."""
    job = make_job(n_items)
    Job.objects.filter(pk=job.pk).update(status=JobStatus.RUNNING)
    ended = Now() - timedelta(hours=1) if seconds_apart is None else Now() - timedelta(seconds=seconds_apart) * F("seq")
    job.items.filter(seq__lt=n_done).update(status="completed", processing_time=milliseconds, completed_at=ended)
    for lane in job.lanes.order_by("n")[:n_lanes]:
        lane.token, lane.cursor, lane.n_completed = uuid.uuid4(), n_done - 1, n_done // n_lanes
        lane.save(update_fields=["token", "cursor", "n_completed"])
    return Job.objects.with_counts().with_pace().get(pk=job.pk)


def test_slow_items_are_done_side_by_side_in_rounds():
    job = running(9, n_done=4, milliseconds=2000)

    assert job.eta_seconds == 6.0  # five items, two at a time: three rounds of two seconds
    assert job.items_per_second == pytest.approx(1.0)


def test_fast_items_go_as_fast_as_they_end_and_not_as_each_of_them_takes():
    job = running(1060, n_done=60, milliseconds=0, seconds_apart=0.01)

    assert job.eta_seconds == pytest.approx(10.0, rel=0.01)
    assert job.items_per_second == pytest.approx(100, rel=0.01)


def test_a_pause_long_ago_does_not_slow_what_goes_now():
    job = running(62, n_done=60, milliseconds=2000)

    assert job.eta_seconds == 2.0


@pytest.mark.parametrize("columns", [{"paused": True}, {"status": JobStatus.PENDING}])
def test_nothing_is_told_of_a_job_that_does_not_run(columns):
    job = running(9, n_done=4, milliseconds=2000)
    Job.objects.filter(pk=job.pk).update(**columns)

    job = Job.objects.with_counts().with_pace().get(pk=job.pk)

    assert (job.eta_seconds, job.items_per_second) == (None, None)


def test_positions_are_told_in_one_statement_however_the_jobs_were_fetched():
    Queue.objects.update(max_jobs=0)
    jobs = [make_job(name=str(n)) for n in range(3)]

    with mock.patch("jobs.sql.rows", wraps=sql.rows) as asked:
        found = {job.name: job.position for job in Job.objects.with_position().order_by("-pk")}
    last = Job.objects.with_position().in_order().last()

    assert asked.call_count == 1
    assert found == {"0": 1, "1": 2, "2": 3}
    assert (last.pk, last.position) == (jobs[2].pk, 3)
    assert list(Job.objects.with_position().order_by("pk").values_list("name", flat=True)) == ["0", "1", "2"]


def test_what_is_written_of_jobs_and_items_is_what_their_description_names():
    job = make_job()
    item = job.items.get()

    assert list(render_jobs(for_clients(Job.objects.all()))[0]) == list(JobSerializer().fields)
    assert list(ItemSerializer(item).data) == list(ItemSerializer().fields)

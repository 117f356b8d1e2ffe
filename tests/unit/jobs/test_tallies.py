"""Tallies: how many items closed when"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import Sum
from django.utils import timezone

from jobs import outbox, tallies
from jobs.models import Job, Tally
from tests.workbench.rows import make_job, make_user, work

pytestmark = pytest.mark.django_db


def published(items, **draft):
    job = make_job(items, **draft)
    work()
    outbox.publish(job.pk, force=True)
    job.refresh_from_db()
    return job


def test_every_closed_item_is_counted_once_however_often_it_is_published():
    job = published([{}, {}, {"do": "permanent"}])
    outbox.publish(job.pk, force=True)

    counted = Tally.objects.filter(job=job).aggregate(completed=Sum("n_completed"), failed=Sum("n_failed"))

    assert counted == {"completed": 2, "failed": 1}


def test_items_of_the_same_ten_seconds_share_a_row():
    job = make_job()
    for _ in range(3):
        tallies.add(job.pk, n_completed=2, n_failed=1)

    rows = Tally.objects.filter(job=job)

    assert sum(row.n_completed for row in rows) == 6
    assert all(row.at.second % tallies.STEP_SECONDS == 0 for row in rows)


def test_the_chart_of_a_job_runs_from_its_first_item_to_its_end():
    job = make_job()
    began_at = timezone.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    Job.objects.filter(pk=job.pk).update(started_at=began_at, completed_at=began_at + timedelta(hours=2))
    Tally.objects.create(job=job, at=began_at, n_completed=20)
    Tally.objects.create(job=job, at=began_at + timedelta(minutes=61), n_completed=10, n_failed=10)
    job.refresh_from_db()

    series = tallies.of_job(job, n_steps=60)

    assert series.step_seconds == 120
    assert series.starts[0] == began_at.timestamp()
    assert series.starts[-1] == job.completed_at.timestamp()
    assert (series.completed[0], series.completed[30], series.failed[30]) == (10.0, 5.0, 5.0)
    assert sum(series.completed) + sum(series.failed) == 20.0
    assert series.peak == 10.0


def test_a_job_that_has_not_started_has_an_empty_chart():
    series = tallies.of_job(make_job())

    assert series.peak == 0


def test_the_chart_of_the_desk_shows_each_user_the_own_jobs_and_staff_all():
    ada, bob = make_user("ada"), make_user("bob")
    staff = make_user("staff")
    staff.is_staff = True
    published(3, by=ada)
    published(2, by=bob)

    seen = [round(sum(tallies.of_jobs_visible_to(user).completed)) for user in (ada, bob, staff)]

    assert seen == [3, 2, 5]

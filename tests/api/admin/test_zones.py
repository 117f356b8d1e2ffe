"""Times in the zone of whoever looks"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient
from django.utils import timezone

from jobs.models import Job
from tests.workbench.rows import make_job

pytestmark = pytest.mark.django_db

JOBS = "/admin/jobs/job/?standing=all"


@pytest.fixture
def job(operator):
    job = make_job(by=operator)
    Job.objects.filter(pk=job.pk).update(created_at=datetime(2026, 1, 15, 22, 30, tzinfo=UTC))
    return job


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("", "Jan. 15, 2026, 10:30 p.m."),
        ("Europe/Vienna", "Jan. 15, 2026, 11:30 p.m."),
        ("Asia/Kathmandu", "Jan. 16, 2026, 4:15 a.m."),
        *(
            (bad, "Jan. 15, 2026, 10:30 p.m.")
            for bad in ("Nowhere/Land", "America", "../../etc/passwd", "/etc/passwd", "\xff")
        ),
    ],
)
def test_the_administration_writes_times_in_the_browsers_zone(console, job, zone, shown):
    console.cookies["zone"] = zone

    page = console.get(f"/admin/jobs/job/{job.pk}/change/").content.decode()

    assert shown in page
    assert timezone.get_current_timezone_name() == "UTC"


def test_it_does_so_on_the_event_loop_too(operator, job):
    client = AsyncClient()
    client.force_login(operator)
    client.cookies["zone"] = "Europe/Vienna"

    response = async_to_sync(client.get)(f"/admin/jobs/job/{job.pk}/change/")

    assert "Jan. 15, 2026, 11:30 p.m." in response.content.decode()
    assert timezone.get_current_timezone_name() == "UTC"


def test_the_api_speaks_utc_to_everybody(console, job):
    console.cookies["zone"] = "Asia/Kathmandu"

    answer = console.get(f"/api/perspectives/batch/status/{job.job_id}", headers={"Accept": "application/json"}).json()

    assert "2026-01-15T22:30:00" in str(answer)

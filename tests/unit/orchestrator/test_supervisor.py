from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from jobs.models import ClusterCanary, Job, Lane
from orchestrator.supervisor import silence_seconds

pytestmark = pytest.mark.django_db


def silence_of(cluster: str, host: str = "here") -> float | None:
    connection.ensure_connection()
    return silence_seconds(connection.connection, cluster, host)


def make_canary(cluster: str, *, age_seconds: float, host: str = "here") -> None:
    ClusterCanary.objects.create(cluster=cluster, host=host, beat_at=timezone.now() - timedelta(seconds=age_seconds))


def test_a_cluster_that_never_gave_a_sign_has_no_silence():
    assert silence_of("default") is None


def test_silence_is_the_age_of_the_last_canary_on_this_host():
    make_canary("default", age_seconds=100)
    make_canary("default", age_seconds=1, host="elsewhere")
    make_canary("vision", age_seconds=1)

    silence = silence_of("default")

    assert silence is not None
    assert 99 < silence < 160


def test_a_renewed_lane_breaks_the_silence_of_its_cluster_only():
    make_canary("heavy", age_seconds=100)
    make_canary("default", age_seconds=100)
    job = Job.objects.create(type="SURVEY", pipeline="none", cluster="heavy", queue_id="heavy")
    Lane.objects.create(job=job, n=1, renewed_at=timezone.now() - timedelta(seconds=10))

    busy, idle = silence_of("heavy"), silence_of("default")

    assert busy is not None
    assert idle is not None
    assert 9 < busy < 70
    assert idle > 99

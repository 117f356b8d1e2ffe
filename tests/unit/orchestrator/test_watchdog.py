from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ

from jobs.models import ClusterCanary, Job, Lane
from orchestrator.watchdog import is_hung

pytestmark = pytest.mark.django_db


def hangs(cluster: str) -> bool:
    connection.ensure_connection()
    return is_hung(connection.connection, cluster, "here", 60)


def make_task(cluster: str) -> None:
    OrmQ.objects.create(key=cluster, payload="canary", lock=timezone.now())


def make_canary(cluster: str, *, age_seconds: float, host: str = "here") -> None:
    ClusterCanary.objects.create(cluster=cluster, host=host, beat_at=timezone.now() - timedelta(seconds=age_seconds))


def make_lane(cluster: str, *, age_seconds: float) -> None:
    job = Job.objects.create(type="SURVEY", pipeline="none", cluster=cluster, queue_id="default")
    Lane.objects.create(job=job, n=1, renewed_at=timezone.now() - timedelta(seconds=age_seconds))


def test_a_cluster_that_leaves_its_tasks_and_gives_no_sign_hangs():
    make_task("default")

    assert hangs("default")


def test_an_old_canary_is_no_sign_and_a_young_one_is():
    make_task("default")
    make_canary("default", age_seconds=100)
    make_task("vision")
    make_canary("vision", age_seconds=10)

    assert hangs("default")
    assert not hangs("vision")


def test_a_canary_on_another_host_or_of_another_cluster_is_no_sign():
    make_task("default")
    make_canary("default", age_seconds=1, host="elsewhere")
    make_canary("vision", age_seconds=1)

    assert hangs("default")


def test_a_cluster_that_nobody_rang_does_not_hang():
    make_canary("default", age_seconds=100)
    make_task("vision")

    assert not hangs("default")


def test_a_renewed_lane_is_a_sign_of_its_own_cluster_only():
    make_task("heavy")
    make_lane("heavy", age_seconds=10)
    make_task("default")
    make_lane("default", age_seconds=100)

    assert not hangs("heavy")
    assert hangs("default")

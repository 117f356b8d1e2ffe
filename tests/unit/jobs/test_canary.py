"""Canaries: at most one waits in a cluster, and whoever runs it signs with its host."""

import socket
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django_q.models import OrmQ
from django_q.tasks import async_task

from jobs import canary
from jobs.models import ClusterCanary

pytestmark = pytest.mark.django_db


def n_canaries(cluster: str) -> int:
    return sum(row.func() == canary.BEAT for row in OrmQ.objects.filter(key=cluster))


def test_every_cluster_gets_one_and_no_second_while_it_waits():
    OrmQ.objects.all().delete()

    assert canary.ring() == ["default", "vision", "heavy"]
    assert canary.ring() == []

    assert [n_canaries(cluster) for cluster in ("default", "vision", "heavy")] == [1, 1, 1]


def test_one_that_a_lost_worker_took_is_not_in_the_way_of_the_next():
    OrmQ.objects.all().delete()
    canary.ring(["default"])
    OrmQ.objects.update(lock=Now() + timedelta(minutes=12))

    assert canary.ring(["default"]) == ["default"]


def test_other_tasks_and_torn_rows_are_no_canaries():
    OrmQ.objects.all().delete()
    async_task("jobs.slices.run_slice", q_options={"cluster": "heavy"})
    OrmQ.objects.create(key="heavy", payload="torn", lock=Now())

    assert canary.ring(["heavy"]) == ["heavy"]


def test_a_beat_is_one_row_a_cluster_and_host_with_the_time_of_the_database():
    canary.beat("default")
    ClusterCanary.objects.update(beat_at=Now() - timedelta(hours=1))

    canary.beat("default")

    row = ClusterCanary.objects.get(cluster="default")
    assert row.host == socket.gethostname()
    assert ClusterCanary.objects.filter(beat_at__gt=Now() - timedelta(minutes=1)).exists()

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate

from orchestrator import schedules


class JobsConfig(AppConfig):
    name = "jobs"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        post_migrate.connect(_make_standing_rows, sender=self, dispatch_uid="jobs.standing_rows")
        post_spawn.connect(_begin_with_a_slice, dispatch_uid="jobs.begin_with_a_slice")


def _make_standing_rows(using: str, apps: Any = apps, **kwargs: object) -> None:
    """Make the rows that are always there: the queues, the stream of events without a job, the repair schedule.

    After migrate rather than in a migration, so that they also come back after a flush. Schedules are made here only:
    django-q2 holds up all of them for one with bad arguments.
    """
    from .clusters import QueueName

    for name in QueueName:
        apps.get_model("jobs", "Queue").objects.using(using).get_or_create(name=name.value)
    apps.get_model("jobs", "EventStream").objects.using(using).get_or_create(job=None)
    schedules.every(1, "jobs.reconcile.reconcile", name="reconcile", using=using, apps=apps)


def _begin_with_a_slice(**kwargs: object) -> None:
    """Give a new worker something to look at: after a stop or a crash nobody else would wake it for waiting work."""
    from django_q.conf import Conf

    from . import wake

    wake.workers(Conf.CLUSTER_NAME)

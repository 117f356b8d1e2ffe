from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate

from orchestrator import schedules

if TYPE_CHECKING:
    from jobs.models import Job


class VolcalConfig(AppConfig):
    name = "volcal"
    verbose_name = "Surveys"

    def ready(self) -> None:
        from django_q.signals import post_spawn

        from jobs.pipelines import registry
        from jobs.signals import job_closed

        from . import intake  # noqa: F401  listens for finished uploads
        from .pipeline import SurveyPipeline

        registry.register(SurveyPipeline())
        job_closed.connect(_clear_work_folder, dispatch_uid="volcal.clear_work_folder")
        post_spawn.connect(_clear_left_folders, dispatch_uid="volcal.clear_left_folders")
        post_migrate.connect(_make_schedules, sender=self, dispatch_uid="volcal.schedule")


def _clear_work_folder(sender: type[Job], job: Job, **kwargs: Any) -> None:
    from . import workfolders
    from .intake import PIPELINE

    if job.pipeline == PIPELINE:
        workfolders.sweep()


def _clear_left_folders(**kwargs: Any) -> None:
    """At the start of a worker, remove what a crash has left on its machine."""
    from django_q.conf import Conf

    from jobs.clusters import Cluster

    from . import workfolders

    if Conf.CLUSTER_NAME == Cluster.HEAVY:
        workfolders.sweep()


def _make_schedules(using: str, apps: Any = apps, **kwargs: object) -> None:
    """Let a worker of the heavy cluster sweep each minute: with several machines now this one, now that one, so that a
    job that was closed elsewhere leaves nothing on any of them for long."""
    sweep = "volcal.workfolders.sweep"
    schedules.every(1, sweep, name="sweep work folders", using=using, apps=apps, cluster="heavy")
    schedules.every(24 * 60, "volcal.products.sweep", name="sweep products", using=using, apps=apps)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig

if TYPE_CHECKING:
    from jobs.models import Job


class VolcalConfig(AppConfig):
    name = "volcal"
    verbose_name = "Surveys"

    def ready(self) -> None:
        from jobs.pipelines import registry
        from jobs.signals import job_closed

        from . import intake  # noqa: F401  listens for finished uploads
        from .pipeline import SurveyPipeline

        registry.register(SurveyPipeline())
        job_closed.connect(_clear_work_folder, dispatch_uid="volcal.clear_work_folder")


def _clear_work_folder(sender: type[Job], job: Job, **kwargs: Any) -> None:
    from . import workfolders
    from .intake import PIPELINE

    if job.pipeline == PIPELINE:
        workfolders.sweep()

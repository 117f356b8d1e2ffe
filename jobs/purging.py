"""Deleting archived jobs for good, and saying beforehand what that takes along."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .models import Job, JobEvent, JobItem
from .steps import TransitionRefused

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet

logger = logging.getLogger(__name__)

_BATCH = 5_000  # items deleted in one transaction


@dataclass(frozen=True)
class Preview:
    """What a purge would delete. What pipelines made of the results, such as captions, stays."""

    n_jobs: int
    n_items: int
    n_events: int
    n_not_archived: int


def preview(jobs: QuerySet[Job]) -> Preview:
    archived = jobs.filter(archived=True).order_by().values("pk")
    return Preview(
        n_jobs=archived.count(),
        n_items=JobItem.objects.filter(job__in=archived).count(),
        n_events=JobEvent.objects.filter(job__in=archived).count(),
        n_not_archived=jobs.filter(archived=False).order_by().count(),
    )


def purge(job: Job, *, by: User | None) -> None:
    """Delete an archived job with its items and events. Raises TransitionRefused unless it is archived.

    Items go in batches, so that a job of a million neither fills memory nor holds its locks; a purge that is cut off
    leaves an archived job with fewer items, which can be purged again.
    """
    if not Job.objects.filter(pk=job.pk, archived=True).exists():
        raise TransitionRefused("Only an archived job can be purged; archive it first.")
    n_items = 0
    while batch := list(job.items.order_by("seq").values_list("pk", flat=True)[:_BATCH]):
        JobItem.objects.filter(pk__in=batch).delete()
        n_items += len(batch)
    job_id = str(job.job_id)
    job.delete()
    logger.info("job purged", extra={"job": job_id, "items": n_items, "by": by.get_username() if by else None})

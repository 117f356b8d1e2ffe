"""Deleting archived jobs for good, and saying beforehand what that takes along."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from .models import Job, JobEvent, JobItem, OnFailedDependency
from .states import DONE, JobStatus
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
    """Delete an archived job with its items and events.

    Items go in batches, so that a job of a million neither fills memory nor holds its locks; a purge that is cut off
    leaves an archived job with fewer items, which can be purged again. Raises TransitionRefused unless it is archived,
    or while another job waits for it: that one would lose what it waits for, and start.
    """
    n_items = 0
    while n_deleted := purge_step(job):
        n_items += n_deleted
    by_name = by.get_username() if by else None
    logger.info("job purged", extra={"job": str(job.job_id), "items": n_items, "by": by_name})


@transaction.atomic
def purge_step(job: Job) -> int:
    """Delete some items and return how many, or the job itself when none is left. Raises TransitionRefused.

    The job's row is locked, so that nobody restores the job or makes another one wait for it meanwhile.
    """
    locked = Job.objects.select_for_update(no_key=True).filter(pk=job.pk, archived=True).first()
    if locked is None:
        raise TransitionRefused("Only an archived job can be purged; archive it first.")
    if n := _kept_waiting(locked).count():
        waiting = "1 job waits" if n == 1 else f"{n} jobs wait"
        raise TransitionRefused(f"The job did not succeed, and {waiting} for it; cancel those, or retry this one.")
    batch = list(job.items.order_by("seq").values_list("pk", flat=True)[:_BATCH])
    if not batch:
        Job.objects.filter(pk=job.pk).delete()
    JobItem.objects.filter(pk__in=batch).delete()
    return len(batch)


def _kept_waiting(job: Job) -> QuerySet[Job]:
    """List the jobs that a final one keeps waiting until it is retried."""
    waiting = Job.objects.filter(
        dependencies__depends_on=job, status=JobStatus.WAITING, on_failed_dependency=OnFailedDependency.WAIT
    )
    return waiting.none() if job.status in DONE else waiting

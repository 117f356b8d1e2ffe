"""The order of the queue: ranks between neighbours, so that a move writes one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Sum

from orchestrator.problems import Conflict, Invalid, NotFound

from . import events
from .clusters import QueueName
from .models import Job, NextRank, Queue
from .states import EventType, JobStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.db.models import QuerySet

MOVABLE = (JobStatus.WAITING, JobStatus.PENDING)
FINEST_RANK = Decimal("1e-20")  # gaps below this are widened by numbering the whole queue anew


class QueueChanged(Conflict):
    """The queue has changed since it was read"""


@dataclass(frozen=True)
class Reordering:
    updated: int
    ignored: list[UUID]
    queue_version: int


def queue_version() -> int:
    """Return a number that grows with every change of order."""
    return Queue.objects.aggregate(version=Sum("version"))["version"] or 0


def reorder(job_ids: Sequence[UUID], *, by: User | None, among: QuerySet[Job] | None = None) -> Reordering:
    """Let these jobs follow each other in this order, from where the first of them stands now.

    All take the smallest priority among them. Ids that are unknown, running or final are ignored and named.
    among: the jobs that the user may see. Raises Invalid if a list is empty or names a job twice.
    """
    if not job_ids:
        raise Invalid("Name at least one job.", errors={"jobIds": ["This list may not be empty."]})
    if len(set(job_ids)) != len(job_ids):
        raise Invalid("Name each job once.", errors={"jobIds": ["The same job is named twice."]})
    with transaction.atomic():
        version = _lock(None)
        jobs = {job.job_id: job for job in _movable(among).filter(job_id__in=job_ids)}
        moved = [jobs[job_id] for job_id in job_ids if job_id in jobs]
        ignored = [job_id for job_id in job_ids if job_id not in jobs]
        if not moved:
            return Reordering(0, ignored, version)
        anchor = min(moved, key=lambda job: (job.priority, job.rank, job.pk))
        others = _movable().exclude(pk__in=[job.pk for job in moved]).filter(priority=anchor.priority)
        before = others.filter(rank__lt=anchor.rank).order_by("-rank").first()
        after = others.filter(rank__gt=anchor.rank).order_by("rank").first()
        ranks = _ranks_between(before, after, len(moved))
        if ranks is None:
            _number_anew()
            return reorder(job_ids, by=by, among=among)
        for job, rank in zip(moved, ranks, strict=True):
            Job.objects.filter(pk=job.pk).update(priority=anchor.priority, rank=rank, version=F("version") + 1)
        return Reordering(len(moved), ignored, _tell([job.job_id for job in moved], by))


def place(
    job_id: UUID,
    *,
    before: UUID | None = None,
    after: UUID | None = None,
    queue_version: int | None = None,
    by: User | None,
    among: QuerySet[Job] | None = None,
) -> Reordering:
    """Move one job directly before or after another, taking its priority. Writes one job row.

    Raises QueueChanged if queue_version is given and not the present one; NotFound for an unknown job; Invalid unless
    exactly one neighbour is named; a job that runs or is final is ignored and named.
    """
    if (before is None) == (after is None):
        raise Invalid("Say where: name either `before` or `after`.")
    neighbour_id = before or after
    assert neighbour_id is not None
    if neighbour_id == job_id:
        raise Invalid("A job cannot stand beside itself.")
    with transaction.atomic():
        version = _lock(queue_version)
        job, neighbour = _known(job_id, among), _known(neighbour_id, among)
        ignored = [one.job_id for one in (job, neighbour) if one.status not in MOVABLE]
        if ignored:
            return Reordering(0, ignored, version)
        others = _movable().exclude(pk=job.pk).filter(priority=neighbour.priority)
        if before is not None:
            ranks = _ranks_between(others.filter(rank__lt=neighbour.rank).order_by("-rank").first(), neighbour, 1)
        else:
            ranks = _ranks_between(neighbour, others.filter(rank__gt=neighbour.rank).order_by("rank").first(), 1)
        if ranks is None:
            _number_anew()
            return place(job_id, before=before, after=after, by=by, among=among)
        Job.objects.filter(pk=job.pk).update(priority=neighbour.priority, rank=ranks[0], version=F("version") + 1)
        return Reordering(1, [], _tell([job_id], by))


def set_priority(job_id: UUID, priority: int, *, by: User | None, among: QuerySet[Job] | None = None) -> Reordering:
    """Give one job another priority, behind those that have it already."""
    if not 0 <= priority <= 1000:
        raise Invalid("Choose a priority from 0 to 1000.", errors={"priority": ["Choose from 0 to 1000."]})
    with transaction.atomic():
        version = _lock(None)
        job = _known(job_id, among)
        if job.status not in MOVABLE:
            return Reordering(0, [job_id], version)
        Job.objects.filter(pk=job.pk).update(priority=priority, rank=NextRank(), version=F("version") + 1)
        return Reordering(1, [], _tell([job_id], by))


def _lock(expected: int | None) -> int:
    """Let one reordering happen at a time, over the whole queue. Returns its version."""
    version = sum(queue.version for queue in Queue.objects.select_for_update(no_key=True).order_by("name"))
    if expected is not None and expected != version:
        raise QueueChanged(
            f"The queue is at version {version}, not {expected}; read it again and repeat.", queueVersion=version
        )
    return version


def _movable(among: QuerySet[Job] | None = None) -> QuerySet[Job]:
    return (Job.objects.all() if among is None else among).filter(status__in=MOVABLE)


def _known(job_id: UUID, among: QuerySet[Job] | None) -> Job:
    job = (Job.objects.all() if among is None else among).filter(job_id=job_id).first()
    if job is None:
        raise NotFound(f"No job has the id {job_id}.")
    return job


def _ranks_between(before: Job | None, after: Job | None, n: int) -> list[Decimal] | None:
    """Spread n ranks evenly between two neighbours; None if they are too close for that."""
    if before is None and after is None:
        return [Decimal(step) for step in range(1, n + 1)]
    if after is None:
        # Behind everybody is where new jobs go too, so their numbers are asked for.
        with connection.cursor() as cursor:
            cursor.execute("SELECT nextval('jobs_rank') FROM generate_series(1, %s)", [n])
            return [Decimal(row[0]) for row in cursor.fetchall()]
    low = before.rank if before is not None else after.rank - 1024
    gap = (after.rank - low) / (n + 1)
    return None if gap < FINEST_RANK else [low + gap * step for step in range(1, n + 1)]


def _number_anew() -> None:
    """Give the whole queue fresh ranks in its present order."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH ordered AS (
                SELECT id FROM jobs_job WHERE status IN ('waiting', 'pending') ORDER BY priority, rank, id
            ), numbered AS (
                SELECT id, nextval('jobs_rank') AS rank FROM ordered
            )
            UPDATE jobs_job job SET rank = numbered.rank FROM numbered WHERE job.id = numbered.id
            """
        )


def _tell(job_ids: list[UUID], by: User | None) -> int:
    Queue.objects.filter(pk=QueueName.DEFAULT).update(version=F("version") + 1)
    version = queue_version()
    events.record(
        EventType.QUEUE_REORDERED, by=by, data={"jobIds": [str(job_id) for job_id in job_ids], "queueVersion": version}
    )
    return version

"""Admission: which pending jobs get one of the places of their queue."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from . import events, wake
from .models import Executor, Job, Lane, Queue
from .states import EventType, JobStatus

# Constant conditions on one row of `jobs_job job`. Jobs for outside workers have places of their own, as many again:
# nobody may ask for them for hours. A cancelled job keeps its place until its last worker let go.
_HOLDS_PLACE = """
    job.queue_id = %(queue)s AND job.executor = %(executor)s AND (
        job.status = 'running'
        OR job.id IN (SELECT lane.job_id FROM jobs_lane lane
                      WHERE lane.token IS NOT NULL AND lane.lease_expires_at > now()))
"""
_CLAIMABLE = """
    EXISTS (SELECT FROM jobs_jobitem item
            WHERE item.job_id = job.id AND item.status = 'pending'
              AND (%(perspectives)s::text[] IS NULL OR item.perspective = ANY (%(perspectives)s::text[])))
"""
_RUNNABLE = f"""
    job.queue_id = %(queue)s AND job.executor = %(executor)s AND job.status = 'pending' AND NOT job.paused
    AND {_CLAIMABLE}
"""
_UNASKED = f"""
    job.queue_id = %(queue)s AND job.executor = %(executor)s AND job.status = 'running' AND NOT {_CLAIMABLE}
    AND NOT EXISTS (SELECT FROM jobs_lane lane WHERE lane.job_id = job.id AND lane.token IS NOT NULL)
"""


def admit(queue_name: str, *, asked: Sequence[str] | None = None) -> int:
    """Start as many pending jobs as the queue has places for, best first. Returns how many started.

    asked: perspectives that an outside worker asks for. Of the jobs for such workers only those start that have some
    of these, and one that has none and that nobody works on makes room for them.
    """
    return sum(
        _admit(queue_name, executor, list(asked) if asked and executor == Executor.EXTERNAL else None)
        for executor in Executor
    )


def _admit(queue_name: str, executor: Executor, asked: list[str] | None) -> int:
    given = {"queue": queue_name, "executor": executor, "perspectives": asked}
    # Look without the lock first: slices ask all the time, and mostly there is nothing.
    if not _ids(_RUNNABLE, given, limit=1):
        return 0
    with transaction.atomic():
        _lock(queue_name)
        # Counting is a statement of its own: within the locking one, its snapshot would predate the wait for the lock.
        queue = Queue.objects.get(pk=queue_name)
        places = 0 if queue.paused else queue.job_limit - len(_ids(_HOLDS_PLACE, given))
        if places == 0 and asked and not queue.paused:
            places = _make_room(given)
        if places <= 0:
            return 0
        ids = _ids(_RUNNABLE, given, limit=places, lock="FOR NO KEY UPDATE SKIP LOCKED")
        for job in Job.objects.filter(pk__in=ids).in_order():
            _start(job, queue.item_limit)
    return len(ids)


def _make_room(given: Mapping[str, Any]) -> int:
    """Let the last job step back that nobody works on and that has nothing for who asks. Returns how many did."""
    ids = _ids(_UNASKED, given, lock="FOR NO KEY UPDATE SKIP LOCKED")[-1:]
    return Job.objects.filter(pk__in=ids).update(status=JobStatus.PENDING, version=F("version") + 1)


def _ids(condition: str, given: Mapping[str, Any], *, limit: int | None = None, lock: str = "") -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT job.id FROM jobs_job job WHERE {condition}"  # noqa: S608  constants of this module
            f" ORDER BY job.priority, job.rank, job.id LIMIT %(limit)s {lock}",
            {**given, "limit": limit},
        )
        return [row[0] for row in cursor.fetchall()]


def _lock(queue_name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, %s)",
            [zlib.crc32(b"admission") >> 1, zlib.crc32(queue_name.encode()) >> 1],
        )


def _start(job: Job, n_lanes: int) -> None:
    is_first = job.started_at is None
    Job.objects.filter(pk=job.pk).update(
        status=JobStatus.RUNNING, started_at=Coalesce("started_at", Now()), version=F("version") + 1
    )
    open_lanes(job.pk, n_lanes)
    if is_first:
        started_at = Job.objects.values_list("started_at", flat=True).get(pk=job.pk)
        events.record(EventType.JOB_STARTED, job=job, data={"startedAt": started_at and started_at.isoformat()})
    if job.executor == Executor.INTERNAL:
        wake.workers(job.cluster, n_lanes)


def open_lanes(job_pk: int, n_lanes: int) -> None:
    """Give the job lanes 0 to n_lanes - 1 and retire those beyond. A retired lane that is held drains, never dies."""
    Lane.objects.bulk_create(
        [Lane(job_id=job_pk, n=n) for n in range(n_lanes)],
        update_conflicts=True,
        unique_fields=["job", "n"],
        update_fields=["retired"],
    )
    Lane.objects.filter(job_id=job_pk, n__gte=n_lanes, retired=False).update(retired=True)


def apply_limits(queue_name: str) -> None:
    """Fit the lanes of running jobs to the queue's present limits, within the caller's transaction."""
    _lock(queue_name)
    queue = Queue.objects.get(pk=queue_name)
    for job in Job.objects.filter(queue_id=queue_name, status=JobStatus.RUNNING).order_by("id"):
        open_lanes(job.pk, queue.item_limit)
        if job.executor == Executor.INTERNAL and not queue.paused:
            wake.workers(job.cluster, queue.item_limit)

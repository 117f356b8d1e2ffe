"""Admission: which pending jobs get one of the places of their queue."""

from __future__ import annotations

import zlib

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from . import events, wake
from .models import Executor, Job, Lane, Queue
from .states import EventType, JobStatus

# Two constant conditions on one row of `jobs_job job`. A cancelled job keeps its place until its last worker let go.
_HOLDS_PLACE = """
    job.queue_id = %(queue)s AND (
        job.status = 'running'
        OR job.id IN (SELECT lane.job_id FROM jobs_lane lane
                      WHERE lane.token IS NOT NULL AND lane.lease_expires_at > now()))
"""
_RUNNABLE = """
    job.queue_id = %(queue)s AND job.status = 'pending' AND NOT job.paused
    AND EXISTS (SELECT FROM jobs_jobitem item WHERE item.job_id = job.id AND item.status = 'pending')
"""


def admit(queue_name: str) -> int:
    """Start as many pending jobs as the queue has places for, best first. Returns how many started."""
    if not _anything_to_admit(queue_name):
        return 0
    with transaction.atomic():
        _lock(queue_name)
        # Counting is a statement of its own: within the locking one, its snapshot would predate the wait for the lock.
        queue = Queue.objects.get(pk=queue_name)
        places = 0 if queue.paused else queue.job_limit - _n_places_taken(queue_name)
        if places <= 0:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT job.id FROM jobs_job job WHERE {_RUNNABLE}"  # noqa: S608  a constant of this module
                " ORDER BY job.priority, job.rank, job.id LIMIT %(places)s FOR NO KEY UPDATE SKIP LOCKED",
                {"queue": queue_name, "places": places},
            )
            ids = [row[0] for row in cursor.fetchall()]
        for job in Job.objects.filter(pk__in=ids).in_order():
            _start(job, queue.item_limit)
    return len(ids)


def _anything_to_admit(queue_name: str) -> bool:
    """Look without the lock first: slices ask all the time, and mostly there is nothing."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT FROM jobs_job job WHERE {_RUNNABLE})",  # noqa: S608  a constant of this module
            {"queue": queue_name},
        )
        return cursor.fetchone()[0]


def _lock(queue_name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, %s)",
            [zlib.crc32(b"admission") >> 1, zlib.crc32(queue_name.encode()) >> 1],
        )


def _n_places_taken(queue_name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM jobs_job job WHERE {_HOLDS_PLACE}",  # noqa: S608  a constant of this module
            {"queue": queue_name},
        )
        return cursor.fetchone()[0]


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

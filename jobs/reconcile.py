"""Repair: whatever was lost between two transactions is found here and set going again."""

from __future__ import annotations

import logging
import zlib

from django.db import connection, transaction

from . import bulk, outbox, sql, wake
from .admission import admit
from .clusters import QueueName
from .models import Executor, Job
from .slices import recover_lanes
from .states import ItemStatus, JobStatus
from .steps import CLOSE_STEP

logger = logging.getLogger(__name__)


def reconcile() -> None:
    """Do everything that a lost wake-up, worker or message has left undone. Runs once at a time over all machines."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [zlib.crc32(b"reconcile")])
            if not cursor.fetchone()[0]:
                return
        sql.rows("promote_due")
        _let_waiting_jobs_go()
        ids = list(Job.objects.filter(status=JobStatus.RUNNING).values_list("pk", flat=True))
    recover_lanes()
    for job in Job.objects.filter(pk__in=ids):
        job.settle()
    _close_emptied_jobs()
    for queue in QueueName:
        admit(queue)
    _top_up_slices()
    for job_pk in _cancelled_with_open_items():
        close_items_of_cancelled(job_pk)
    bulk.run_overdue()
    for stream_pk, _ in outbox.pending_streams():
        outbox.publish_later(stream_pk)


def close_items_of_cancelled(job_pk: int) -> None:
    """Close what a cancellation left open, in steps that each lock the job only shortly."""
    while True:
        with transaction.atomic():
            job = Job.objects.select_for_update(no_key=True).get(pk=job_pk)
            if job.status != JobStatus.CANCELLED or not job.close_open_items(CLOSE_STEP):
                return


def _let_waiting_jobs_go() -> None:
    for job in Job.objects.filter(status=JobStatus.WAITING).order_by("pk"):
        if not job.blocking().exists():
            job.leave_waiting_if_ready()


def _close_emptied_jobs() -> None:
    """Close pending jobs that were started once and have no open item left: their last slice died before it could."""
    started = Job.objects.filter(status=JobStatus.PENDING, started_at__isnull=False)
    for job in started.exclude(items__status__in=(ItemStatus.PENDING, ItemStatus.WAITING)):
        job.settle()


def _top_up_slices() -> None:
    """Enqueue a slice for each free lane of a running job that has something to claim."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT job.cluster, count(*)
            FROM jobs_job job JOIN jobs_lane lane ON lane.job_id = job.id
            WHERE job.status = 'running' AND NOT job.paused AND job.executor = %s
              AND lane.token IS NULL AND NOT lane.retired
              AND EXISTS (SELECT FROM jobs_jobitem item WHERE item.job_id = job.id AND item.status = 'pending')
            GROUP BY job.cluster
            """,
            [Executor.INTERNAL],
        )
        free = cursor.fetchall()
    for cluster, n in free:
        wake.workers(cluster, max(0, n - wake.n_queued(cluster)))


def _cancelled_with_open_items() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT job.id FROM jobs_job job
            WHERE job.status = 'cancelled' AND NOT job.archived
              AND job.processed_images + job.failed_images + job.cancelled_images < job.total_images
            """
        )
        return [row[0] for row in cursor.fetchall()]

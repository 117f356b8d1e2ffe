"""The same work once more: a new job with the items and the configuration of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection, transaction

from orchestrator import requestids
from orchestrator.problems import Conflict

from . import events
from .admission import admit
from .clusters import QUEUE_OF
from .models import EventStream, Job
from .states import EventType, JobType

if TYPE_CHECKING:
    from django.contrib.auth.models import User

# Work whose items say all that is needed to do them again. An import's upload is gone once it is done, and a survey or
# a workflow is repeated where its own inputs are.
_REPEATABLE = (
    JobType.MULTI_PERSPECTIVE,
    JobType.DATASET_PERSPECTIVE,
    JobType.BACKFILL,
    JobType.DEPENDENCY_CHAIN,
)


class CannotBeCloned(Conflict):
    """This kind of job cannot be repeated from its items"""


def can_clone(job: Job) -> bool:
    return job.type in _REPEATABLE


def clone(job: Job, *, by: User | None) -> Job:
    """Queue all items of a job once more, whatever became of them. Raises CannotBeCloned.

    Copied inside the database: a job of a million takes seconds. Dependencies on other jobs are not copied; they are
    done, or their failure is why somebody repeats this one.
    """
    if not can_clone(job):
        raise CannotBeCloned(f"A job of type {job.type} is repeated where it was started, not from here.")
    with transaction.atomic():
        copy = Job.objects.create(
            type=job.type,
            pipeline=job.pipeline,
            cluster=job.cluster,
            queue=job.queue,
            name=job.name,
            user=by,
            executor=job.executor,
            on_failed_dependency=job.on_failed_dependency,
            priority=job.priority,
            config=job.config,
            max_attempts=job.max_attempts,
            has_edges=job.has_edges,
            request_id=requestids.current(),
        )
        EventStream.objects.create(job=copy)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO jobs_itemedge (job_id, seq, depends_on_seq)
                SELECT %(copy)s, seq, depends_on_seq FROM jobs_itemedge WHERE job_id = %(job)s
                """,
                {"copy": copy.pk, "job": job.pk},
            )
            cursor.execute(
                """
                INSERT INTO jobs_jobitem
                    (job_id, seq, image_path, perspective, payload, status, blocked_by, max_attempts)
                SELECT %(copy)s, item.seq, item.image_path, item.perspective, item.payload,
                       CASE WHEN edge.n > 0 THEN 'waiting' ELSE 'pending' END, coalesce(edge.n, 0), %(attempts)s
                FROM jobs_jobitem item
                LEFT JOIN (
                    SELECT seq, count(*) AS n FROM jobs_itemedge WHERE job_id = %(job)s GROUP BY seq
                ) edge ON edge.seq = item.seq
                WHERE item.job_id = %(job)s
                """,
                {"copy": copy.pk, "job": job.pk, "attempts": job.max_attempts},
            )
            copy.total_images = cursor.rowcount
        copy.save(update_fields=["total_images"])
        if not copy.total_images:
            raise CannotBeCloned("The items of this job are gone; start it anew from its data set.")
        events.record(
            EventType.JOB_CREATED,
            job=copy,
            by=by,
            data={"type": copy.type, "totalImages": copy.total_images, "clonedFrom": str(job.job_id)},
        )
    admit(QUEUE_OF[copy.cluster])
    copy.refresh_from_db()
    return copy

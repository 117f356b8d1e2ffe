"""Creating a job: its row, items, edges and dependencies in one transaction, however many items it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import F, Q, Sum
from django.utils import timezone

from orchestrator import requestids
from orchestrator.problems import Conflict, Invalid

from . import events
from .admission import admit
from .clusters import QUEUE_OF, Cluster
from .models import EventStream, Executor, Job, JobDependency, Lane, OnFailedDependency
from .pipelines import NewItem, registry
from .states import DONE, FINAL, EventType, JobStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import User


_encode = DjangoJSONEncoder().encode  # one encoder for a million items


class UnknownDependency(Conflict):
    """The job depends on a job that does not exist"""


class EmptyJob(Invalid):
    """The job has no items"""


@dataclass
class JobDraft:
    """A job before it exists. items may be any iterable; it is read once, while copying."""

    type: str
    pipeline: str
    items: Iterable[NewItem]
    name: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 100
    max_attempts: int = 3
    executor: str = Executor.INTERNAL
    on_failed_dependency: str = OnFailedDependency.WAIT
    dependencies: Sequence[UUID] = ()
    cluster: Cluster | None = None
    held: bool = False
    """Wait until somebody outside the queue calls `release`."""


@dataclass(frozen=True)
class Forecast:
    """What a draft would become. estimated_start_at: None while nothing has run that would tell."""

    position: int
    n_items: int
    estimated_start_at: datetime | None


def create(draft: JobDraft, *, by: User | None) -> Job:
    """Create the job with everything that belongs to it, and let it start if there is a place.

    Raises UnknownDependency if a dependency does not exist or is not the user's; EmptyJob if there is no item.
    """
    with transaction.atomic():
        job = create_within(draft, by=by)
    admit(QUEUE_OF[job.cluster])
    return job


def create_within(draft: JobDraft, *, by: User | None) -> Job:
    """Create a job inside the caller's transaction; whoever calls this calls `admit` after its commit."""
    cluster = draft.cluster or registry[draft.pipeline].cluster_of(draft.config)
    dependencies = _locked_dependencies(draft.dependencies, by)
    enough = FINAL if draft.on_failed_dependency == OnFailedDependency.RUN else DONE
    is_ready = all(dependency.status in enough for dependency in dependencies)
    job = Job.objects.create(
        type=draft.type,
        pipeline=draft.pipeline,
        cluster=cluster,
        queue_id=QUEUE_OF[cluster],
        name=draft.name,
        user=by,
        status=JobStatus.PENDING if is_ready and not draft.held else JobStatus.WAITING,
        held=draft.held,
        priority=draft.priority,
        config=dict(draft.config),
        max_attempts=draft.max_attempts,
        executor=draft.executor,
        on_failed_dependency=draft.on_failed_dependency,
        request_id=requestids.current(),
    )
    EventStream.objects.create(job=job)
    JobDependency.objects.bulk_create(JobDependency(job=job, depends_on=dependency) for dependency in dependencies)
    n_items, edges = _copy_items(job, draft)
    if not n_items:
        raise EmptyJob("There is nothing to do: the job would have no items.")
    _copy_edges(job, edges)
    job.total_images = n_items
    job.has_edges = bool(edges)
    job.save(update_fields=["total_images", "has_edges"])
    events.record(EventType.JOB_CREATED, job=job, by=by, data={"type": job.type, "totalImages": n_items})
    return job


def _locked_dependencies(job_ids: Sequence[UUID], by: User | None) -> list[Job]:
    """Read the dependencies so that none of them closes unseen before this job is there."""
    wanted = set(job_ids)
    visible = Job.objects.visible_to(by) if by is not None else Job.objects.all()
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM jobs_job WHERE job_id = ANY (%s) ORDER BY id FOR SHARE", [list(wanted)])
    found = list(visible.filter(job_id__in=wanted))
    if unknown := sorted(str(job_id) for job_id in wanted - {job.job_id for job in found}):
        raise UnknownDependency(
            f"No job has the id {', '.join(unknown)}; name existing jobs as dependencies.", unknown=unknown
        )
    return found


def _copy_items(job: Job, draft: JobDraft) -> tuple[int, list[tuple[int, int, int]]]:
    """COPY the items. Returns their number, and the edges between them as (job, seq, depends_on_seq)."""
    edges: list[tuple[int, int, int]] = []
    n_items = 0
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY jobs_jobitem (job_id, seq, image_path, perspective, payload, status, blocked_by, max_attempts)"
            " FROM STDIN"
        ) as copy,
    ):
        for seq, item in enumerate(draft.items):
            sources = set(item.depends_on)
            if any(not 0 <= source < seq for source in sources):
                raise ValueError(f"Item {seq} depends on an item that does not come before it.")
            edges += [(job.pk, seq, source) for source in sorted(sources)]
            copy.write_row(
                (
                    job.pk,
                    seq,
                    item.image_path,
                    item.perspective,
                    _encode(item.payload) if item.payload else "{}",
                    "waiting" if sources else "pending",
                    len(sources),
                    draft.max_attempts,
                )
            )
            n_items = seq + 1
    return n_items, edges


def _copy_edges(job: Job, edges: list[tuple[int, int, int]]) -> None:
    if not edges:
        return
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY jobs_itemedge (job_id, seq, depends_on_seq) FROM STDIN") as copy,
    ):
        for edge in edges:
            copy.write_row(edge)


def forecast(draft: JobDraft) -> Forecast:
    """Say where a draft would stand and when it would start, without creating it. Reads the items once."""
    ahead = Job.objects.filter(status__in=(JobStatus.WAITING, JobStatus.PENDING), priority__lte=draft.priority)
    n_items = sum(1 for _ in draft.items)
    if not n_items:
        raise EmptyJob("There is nothing to do: the job would have no items.")
    return Forecast(ahead.count() + 1, n_items, estimated_start(draft.priority))


def estimated_start(priority: int) -> datetime | None:
    """Estimate when a job behind all of this priority would start, from how fast the last jobs went."""
    recent = (
        Job.objects.filter(completed_at__isnull=False, started_at__isnull=False)
        .annotate(n_items=F("processed_images") + F("failed_images"), took=F("completed_at") - F("started_at"))
        .order_by("-completed_at")[:20]
        .aggregate(all_items=Sum("n_items"), all_time=Sum("took"))
    )
    open_jobs = Job.objects.active().filter(priority__lte=priority)
    closed = F("processed_images") + F("failed_images") + F("cancelled_images")
    left = open_jobs.aggregate(n=Sum(F("total_images") - closed))["n"] or 0
    # What living lanes have closed is not on the jobs' rows yet; only a few jobs have such lanes.
    at_work = Lane.objects.filter(Q(n_completed__gt=0) | Q(n_failed__gt=0), job__in=open_jobs)
    left -= at_work.aggregate(n=Sum(F("n_completed") + F("n_failed")))["n"] or 0
    if not left:
        return timezone.now()
    if not recent["all_items"]:
        return None
    return timezone.now() + left * recent["all_time"] / recent["all_items"]

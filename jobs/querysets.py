"""Questions about many jobs and items."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import models
from django.db.models import OuterRef, Subquery
from django.db.models.functions import Coalesce

from orchestrator.querysets import ToldQuerySet

from . import sql
from .states import ACTIVE, OPEN_ITEMS, ItemStatus, JobStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser, AnonymousUser


class JobQuerySet(ToldQuerySet):
    def in_order(self) -> JobQuerySet:
        """Sort as the queue runs them: lower priority number first, then rank."""
        return self.order_by("priority", "rank", "id")

    def active(self) -> JobQuerySet:
        return self.filter(status__in=ACTIVE)

    def visible_to(self, user: AbstractUser | AnonymousUser) -> JobQuerySet:
        """Own jobs; all of them for staff."""
        return self if user.is_staff else self.filter(user_id=user.pk)

    def search(self, text: str) -> JobQuerySet:
        """Find a text in name, type and user, or the job that has this id."""
        words = (
            models.Q(name__icontains=text) | models.Q(type__icontains=text) | models.Q(user__username__icontains=text)
        )
        with suppress(ValueError):
            words |= models.Q(job_id=UUID(text))
        return self.filter(words)

    def with_counts(self) -> JobQuerySet:
        """Give each fetched job n_completed, n_failed, n_cancelled, n_closed, n_open, progress (percent) and
        total_cost_usd.

        What the job row carries plus what its lanes closed: a handful of rows a job, whatever the number of items.
        """
        return self.telling(_tell_counts)

    def with_position(self) -> JobQuerySet:
        """Give each fetched job its position: 1 for the next to start, None for jobs that run or are final."""
        return self.telling(_tell_positions)

    def with_pace(self) -> JobQuerySet:
        """Give each fetched job items_per_second and eta_seconds; needs with_counts.

        Both follow the items done last, side by side in as many lanes as work now; None while nothing tells.
        """
        return self.telling(_tell_paces)

    def with_dependencies(self) -> JobQuerySet:
        """Give each fetched job waits_for and waited_for_by, lists of jobs."""
        return self.telling(_tell_dependencies)


_QUEUED = (JobStatus.WAITING, JobStatus.PENDING)


def _tell_counts(jobs: Sequence[Any]) -> None:
    found = {pk: counts for pk, *counts in sql.rows("counts", {"ids": [job.pk for job in jobs]})}
    for job in jobs:
        # A job that was purged this moment still has what its row said.
        of_row = (job.processed_images, job.failed_images, job.cancelled_images, job.cost_usd)
        job.n_completed, job.n_failed, job.n_cancelled, job.total_cost_usd = found.get(job.pk, of_row)
        job.n_closed = job.n_completed + job.n_failed + job.n_cancelled
        job.n_open = job.total_images - job.n_closed
        job.progress = 100 * job.n_closed // max(job.total_images, 1)


def _tell_positions(jobs: Sequence[Any]) -> None:
    ids = [job.pk for job in jobs if job.status in _QUEUED]
    positions = dict(sql.rows("positions", {"ids": ids})) if ids else {}
    for job in jobs:
        job.position = positions.get(job.pk)


def _tell_paces(jobs: Sequence[Any]) -> None:
    ids = [job.pk for job in jobs if job.status == JobStatus.RUNNING and not job.paused]
    paces = {pk: pace for pk, *pace in sql.rows("pace", {"ids": ids})} if ids else {}
    for job in jobs:
        job.items_per_second = job.eta_seconds = None
        milliseconds, n_lanes, seconds_apart = paces.get(job.pk, (0.0, 0, None))
        if n_lanes:
            n_left = max(job.n_open, 0)
            n_rounds = -(-n_left // n_lanes)
            job.eta_seconds = round(max(n_rounds * milliseconds / 1000, n_left * (seconds_apart or 0)), 1)
            job.items_per_second = 1 / max(milliseconds / 1000 / n_lanes, seconds_apart or 0, 1e-6)


def _tell_dependencies(jobs: Sequence[Any]) -> None:
    from .models import Job, JobDependency

    ids = [job.pk for job in jobs]
    of_these = models.Q(job__in=ids) | models.Q(depends_on__in=ids)
    edges = list(JobDependency.objects.filter(of_these).order_by("pk").values_list("job_id", "depends_on_id"))
    at_ends = Job.objects.in_bulk({pk for edge in edges for pk in edge}) if edges else {}
    for job in jobs:
        job.waits_for = [at_ends[before] for behind, before in edges if behind == job.pk]
        job.waited_for_by = [at_ends[behind] for behind, before in edges if before == job.pk]


class QueueQuerySet(models.QuerySet):
    def with_load(self) -> QueueQuerySet:
        """Annotate n_running and n_waiting, the jobs of each queue; only open jobs are looked at."""
        from .models import Job

        def jobs(*statuses: JobStatus) -> Coalesce:
            found = Job.objects.filter(queue=OuterRef("pk"), status__in=statuses).order_by().values("queue")
            return Coalesce(Subquery(found.annotate(n=models.Count("pk")).values("n")), 0)

        return self.annotate(n_running=jobs(JobStatus.RUNNING), n_waiting=jobs(*_QUEUED))


class ItemQuerySet(models.QuerySet):
    def open(self) -> ItemQuerySet:
        return self.filter(status__in=OPEN_ITEMS)

    def failed(self) -> ItemQuerySet:
        return self.filter(status=ItemStatus.FAILED)

"""Questions about many jobs and items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import models
from django.db.models import Case, F, OuterRef, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Floor, Greatest
from django.db.models.query import ModelIterable

from . import sql
from .states import ACTIVE, OPEN_ITEMS, ItemStatus, JobStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser, AnonymousUser


class JobQuerySet(models.QuerySet):
    # What is told of jobs once they are fetched, as prefetch_related does: one statement for all of them. A correlated
    # subquery would count the whole queue anew for each row.
    _told_of_fetched: tuple[Callable[[Sequence[Any]], None], ...] = ()

    def _clone(self) -> JobQuerySet:
        clone: JobQuerySet = super()._clone()  # type: ignore[misc]
        clone._told_of_fetched = self._told_of_fetched
        return clone

    def _fetch_all(self) -> None:
        is_new = self._result_cache is None
        super()._fetch_all()
        if is_new and self._result_cache and issubclass(self._iterable_class, ModelIterable):
            for tell in self._told_of_fetched:
                tell(self._result_cache)

    def _telling(self, tell: Callable[[Sequence[Any]], None]) -> JobQuerySet:
        jobs = self._chain()  # type: ignore[attr-defined]
        jobs._told_of_fetched = (*self._told_of_fetched, tell)
        return jobs

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
        """Annotate n_completed, n_failed, n_cancelled, n_closed, progress (percent) and total_cost_usd.

        What the job row carries plus what its lanes closed: a handful of rows a job, whatever the number of items.
        """
        from .models import Lane

        lanes = Lane.objects.filter(job=OuterRef("pk")).order_by().values("job")

        def of_lanes(column: str) -> Coalesce:
            return Coalesce(Subquery(lanes.annotate(total=Sum(column)).values("total")), 0)

        return self.annotate(
            n_completed=F("processed_images") + of_lanes("n_completed"),
            n_failed=F("failed_images") + of_lanes("n_failed"),
            n_cancelled=F("cancelled_images"),
            lanes_cost_usd=Subquery(lanes.annotate(total=Sum("cost_usd")).values("total")),
        ).annotate(
            total_cost_usd=Case(  # null while no part of it is known
                When(cost_usd=None, then=F("lanes_cost_usd")),
                When(lanes_cost_usd=None, then=F("cost_usd")),
                default=F("cost_usd") + F("lanes_cost_usd"),
            ),
            n_closed=F("n_completed") + F("n_failed") + F("n_cancelled"),
            progress=Floor(Value(100) * F("n_closed") / Greatest(F("total_images"), 1)),
        )

    def with_position(self) -> JobQuerySet:
        """Give each fetched job its position: 1 for the next to start, None for jobs that run or are final."""
        return self._telling(_tell_positions)

    def with_pace(self) -> JobQuerySet:
        """Give each fetched job items_per_second and eta_seconds; needs with_counts.

        Both follow the items done last, side by side in as many lanes as work now; None while nothing tells.
        """
        return self._telling(_tell_paces)


_QUEUED = (JobStatus.WAITING, JobStatus.PENDING)


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
            n_left = max(job.total_images - job.n_closed, 0)
            n_rounds = -(-n_left // n_lanes)
            job.eta_seconds = round(max(n_rounds * milliseconds / 1000, n_left * (seconds_apart or 0)), 1)
            job.items_per_second = 1 / max(milliseconds / 1000 / n_lanes, seconds_apart or 0, 1e-6)


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

"""Questions about many jobs and items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Case, F, OuterRef, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Floor, Greatest

from .states import ACTIVE, OPEN_ITEMS, ItemStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser, AnonymousUser


class JobQuerySet(models.QuerySet):
    def in_order(self) -> JobQuerySet:
        """Sort as the queue runs them: lower priority number first, then rank."""
        return self.order_by("priority", "rank", "id")

    def active(self) -> JobQuerySet:
        return self.filter(status__in=ACTIVE)

    def visible_to(self, user: AbstractUser | AnonymousUser) -> JobQuerySet:
        """Own jobs; all of them for staff."""
        return self if user.is_staff else self.filter(user_id=user.pk)

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
        """Annotate position: 1 for the next job to start, null for jobs that run or are final."""
        return self.annotate(
            position=models.expressions.RawSQL(
                "CASE WHEN jobs_job.status IN ('waiting', 'pending') THEN ("
                " SELECT count(*) FROM jobs_job ahead WHERE ahead.status IN ('waiting', 'pending')"
                " AND (ahead.priority, ahead.rank, ahead.id) <= (jobs_job.priority, jobs_job.rank, jobs_job.id)) END",
                (),
                output_field=models.IntegerField(),
            )
        )


class ItemQuerySet(models.QuerySet):
    def open(self) -> ItemQuerySet:
        return self.filter(status__in=OPEN_ITEMS)

    def failed(self) -> ItemQuerySet:
        return self.filter(status=ItemStatus.FAILED)

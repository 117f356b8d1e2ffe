"""How many items closed when: what charts of throughput are drawn from, in a handful of rows a minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models
from django.db.models import Sum
from django.db.models.functions import Extract, Floor

from . import sql

STEP_SECONDS = 10


class Tally(models.Model):
    """Items of one job that closed within ten seconds. Counted when their events are published, by one publisher."""

    job = models.ForeignKey("jobs.Job", on_delete=models.CASCADE, related_name="tallies")
    at = models.DateTimeField()
    n_completed = models.PositiveIntegerField(default=0, db_default=0)
    n_failed = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "at"], name="tally_once")]
        indexes = [models.Index(fields=["at"], name="tally_at")]  # the last hour, over all jobs

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} of job {self.job_id}"


@dataclass(frozen=True)
class Series:
    """Items a minute over time, ready to be drawn. starts: seconds since the epoch, one a step of step_seconds."""

    step_seconds: int
    starts: list[int]
    completed: list[float]
    failed: list[float]

    @property
    def peak(self) -> float:
        return max((a + b for a, b in zip(self.completed, self.failed, strict=True)), default=0.0)

    @property
    def latest(self) -> float:
        """Items a minute in the last whole step."""
        return self.completed[-2] + self.failed[-2] if len(self.starts) > 1 else self.peak

    def as_json(self) -> list[list[float]]:
        return [list(self.starts), self.completed, self.failed]


def add(job_pk: int, *, n_completed: int, n_failed: int) -> None:
    """Count items that just closed, in the caller's transaction."""
    sql.rows("add_tally", {"job": job_pk, "step": STEP_SECONDS, "completed": n_completed, "failed": n_failed})


def of_job(job: Any, n_steps: int = 60) -> Series:
    """The throughput of one job from its first item to its last or to now, in about n_steps steps."""
    ends_at = job.completed_at or datetime.now(UTC)
    began_at = job.started_at or ends_at
    seconds = max((ends_at - began_at).total_seconds(), STEP_SECONDS)
    step = STEP_SECONDS * max(1, -(-int(seconds) // (n_steps * STEP_SECONDS)))
    return _series(Tally.objects.filter(job=job), step, began_at, ends_at)


def of_jobs_visible_to(user: Any, *, minutes: int = 60) -> Series:
    """The throughput of all of the user's jobs in the last minutes, a minute a step."""
    now = datetime.now(UTC)
    seen = Tally.objects.all() if user.is_staff else Tally.objects.filter(job__user_id=user.pk)
    return _series(seen, 60, now - timedelta(minutes=minutes), now)


def _series(tallies: models.QuerySet[Tally], step: int, since: datetime, until: datetime) -> Series:
    first = int(since.timestamp()) // step * step
    starts = list(range(first, int(until.timestamp()) + 1, step))
    found = {
        int(start) * step: (completed, failed)
        for start, completed, failed in tallies.filter(at__gte=datetime.fromtimestamp(first, UTC))
        .values_list(Floor(Extract("at", "epoch") / step))
        .annotate(Sum("n_completed"), Sum("n_failed"))
        .order_by()
    }
    a_minute = 60 / step
    return Series(
        step_seconds=step,
        starts=starts,
        completed=[round(found.get(start, (0, 0))[0] * a_minute, 2) for start in starts],
        failed=[round(found.get(start, (0, 0))[1] * a_minute, 2) for start in starts],
    )

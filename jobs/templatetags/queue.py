"""What the frame of every page says of the queue."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Count, Q
from django.utils import timezone

from jobs.models import Job
from jobs.states import ACTIVE, JobStatus

register = template.Library()


@register.simple_tag
def queue_counts(user: AbstractUser | AnonymousUser) -> dict[str, Any]:
    """Count the jobs of this user that run and that wait."""
    return (
        Job.objects.visible_to(user)
        .filter(status__in=ACTIVE)
        .aggregate(
            running=Count("pk", filter=Q(status=JobStatus.RUNNING)),
            waiting=Count("pk", filter=~Q(status=JobStatus.RUNNING)),
        )
    )


# Jobs come with the counts of `with_counts`, which no type tells.


@register.inclusion_tag("jobs/_bar.html")
def bar(job: Any, tall: bool = False) -> dict[str, Any]:
    """Draw how much of a job is closed, by outcome."""
    total = max(job.total_images, 1)
    completed, failed, cancelled = (100 * n / total for n in (job.n_completed, job.n_failed, job.n_cancelled))
    return {
        "job": job,
        "tall": tall,
        "completed": round(completed, 3),
        "failed": round(failed, 3),
        "cancelled": round(cancelled, 3),
        "failed_from": round(completed, 3),
        "cancelled_from": round(completed + failed, 3),
    }


@register.filter
def n_open(job: Any) -> int:
    return job.total_images - job.n_closed


@register.filter
def rate(job: Any) -> float | None:
    """Items closed in a second, since the job started."""
    if job.started_at is None or not job.n_closed:
        return None
    seconds = ((job.completed_at or timezone.now()) - job.started_at).total_seconds()
    return job.n_closed / seconds if seconds > 0 else None


@register.filter
def seconds_left(job: Job) -> float | None:
    """Guess when a running job is done, if it goes on as it went; None while nothing tells."""
    pace = rate(job)
    return n_open(job) / pace if pace and job.status == JobStatus.RUNNING and not job.paused else None


@register.filter
def took(job: Job) -> timedelta | None:
    return job.completed_at - job.started_at if job.completed_at and job.started_at else None


@register.filter
def spent_usd(job: Any) -> Decimal | None:
    """What the job cost so far; None where nobody knows it."""
    parts = [cost for cost in (job.cost_usd, job.lanes_cost_usd) if cost is not None]
    return sum(parts, Decimal(0)) if parts else None

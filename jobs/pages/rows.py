"""Jobs as the rows of a list: fetched with everything that a row says."""

from __future__ import annotations

from typing import Any

from jobs.models import Job

from .filters import STATUSES


def open_rows(jobs: Any) -> list[Any]:
    """Fetch jobs that may wait, run or be finished. jobs: a queryset."""
    return list(jobs.select_related("user").with_counts().with_position().with_pace().with_dependencies())


def finished_rows(jobs: Any) -> list[Any]:
    """Fetch finished jobs: they have no place in the queue and wait for nobody."""
    return list(jobs.select_related("user").with_counts())


def jobs_at_work(user: Any, limit: int) -> list[Any]:
    """The first jobs of the queue, for the home page."""
    return open_rows(Job.objects.visible_to(user).filter(STATUSES["active"]).in_order()[:limit])


def jobs_in_trouble(user: Any, limit: int) -> list[Any]:
    """The last jobs that failed, wholly or in part, and are not archived."""
    return finished_rows(
        Job.objects.visible_to(user).filter(STATUSES["failed"]).order_by("-completed_at", "-pk")[:limit]
    )

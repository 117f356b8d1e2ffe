"""The home page: what runs, what needs somebody, how the desk is; and on a fresh desk where to begin."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from captioning.models import Dataset
from captioning.views import demo_of
from jobs import tallies
from jobs.creation import estimated_start
from jobs.models import ClusterCanary, Job
from jobs.pages.filters import STATUSES
from jobs.pages.rows import jobs_at_work, jobs_in_trouble

LISTED = 8
CHART_MINUTES = 60
_LOWEST_PRIORITY = 1000


@dataclass(frozen=True)
class Disk:
    """The file system that the desk stores on, in bytes."""

    used: int
    total: int
    free: int

    @property
    def share(self) -> float:
        return self.used / self.total

    @property
    def is_nearly_full(self) -> bool:
        return self.free < max(2 * 1024**3, 0.05 * self.total)


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    is_fresh = not Job.objects.visible_to(request.user).exists()
    context = {
        "is_fresh": is_fresh,
        "figures": _figures(request.user),
        "at_work": jobs_at_work(request.user, LISTED),
        "in_trouble": jobs_in_trouble(request.user, LISTED),
        "throughput": tallies.of_jobs_visible_to(request.user, minutes=CHART_MINUTES),
        "workers": _workers(),
        "disk": Disk(*_disk_usage()) if request.user.is_staff else None,
        "datasets": Dataset.objects.visible_to(request.user).with_counts().order_by("-updated_at", "name")[:LISTED],
    }
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "desk/_home.html", context)
    return render(request, "desk/home.html", context | (demo_of(request.user) if is_fresh else {}))


@login_required
@require_safe
def counts(request: HttpRequest) -> HttpResponse:
    """The running and waiting jobs that the top line shows."""
    return render(request, "_counts.html")


def _figures(user: Any) -> dict[str, Any]:
    """Count the user's jobs by what they need, and what the last day's have cost."""
    yesterday = Now() - timedelta(days=1)
    present = Job.objects.visible_to(user).filter(Q(archived=False) | Q(completed_at__gte=yesterday))
    figures = present.aggregate(
        running=Count("pk", filter=STATUSES["running"]),
        pending=Count("pk", filter=STATUSES["pending"]),
        waiting=Count("pk", filter=STATUSES["waiting"]),
        paused=Count("pk", filter=STATUSES["paused"]),
        failed=Count("pk", filter=STATUSES["failed"]),
        closed_cost=Sum("cost_usd", filter=Q(completed_at__gte=yesterday) | Q(completed_at=None)),
    )
    lanes_cost = Job.objects.visible_to(user).active().aggregate(cost=Sum(F("lanes__cost_usd")))["cost"]
    costs = [cost for cost in (figures.pop("closed_cost"), lanes_cost) if cost is not None]
    starts_at = estimated_start(_LOWEST_PRIORITY) if figures["running"] else None
    left = (starts_at - timezone.now()).total_seconds() if starts_at is not None else None
    return figures | {"spent_usd": sum(costs) if costs else None, "seconds_left": max(left, 0) if left else None}


def _workers() -> list[dict[str, Any]]:
    alive_since = timezone.now() - timedelta(seconds=settings.CANARY_STALE_SECONDS)
    return [
        {"cluster": one.cluster, "host": one.host, "beat_at": one.beat_at, "is_alive": one.beat_at >= alive_since}
        for one in ClusterCanary.objects.order_by("cluster", "host")
    ]


def _disk_usage() -> tuple[int, int, int]:
    usage = shutil.disk_usage(settings.VAR_DIR)
    return usage.used, usage.total, usage.free

"""How the desk is: what the home page and the administration's front page both tell."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone

from jobs.creation import estimated_start
from jobs.models import ClusterCanary, Job
from jobs.pages.filters import STATUSES

_LOWEST_PRIORITY = 1000


def figures(user: Any) -> dict[str, Any]:
    """Count the user's jobs by what they need, and what the last day's have cost."""
    yesterday = Now() - timedelta(days=1)
    present = Job.objects.visible_to(user).filter(Q(archived=False) | Q(completed_at__gte=yesterday))
    counted = present.aggregate(
        running=Count("pk", filter=STATUSES["running"]),
        pending=Count("pk", filter=STATUSES["pending"]),
        waiting=Count("pk", filter=STATUSES["waiting"]),
        paused=Count("pk", filter=STATUSES["paused"]),
        failed=Count("pk", filter=STATUSES["failed"]),
        closed_cost=Sum("cost_usd", filter=Q(completed_at__gte=yesterday) | Q(completed_at=None)),
    )
    lanes_cost = Job.objects.visible_to(user).active().aggregate(cost=Sum(F("lanes__cost_usd")))["cost"]
    costs = [cost for cost in (counted.pop("closed_cost"), lanes_cost) if cost is not None]
    starts_at = estimated_start(_LOWEST_PRIORITY) if counted["running"] else None
    left = (starts_at - timezone.now()).total_seconds() if starts_at is not None else None
    return counted | {"spent_usd": sum(costs) if costs else None, "seconds_left": max(left, 0) if left else None}


def workers() -> list[dict[str, Any]]:
    alive_since = timezone.now() - timedelta(seconds=settings.CANARY_STALE_SECONDS)
    return [
        {"cluster": one.cluster, "host": one.host, "beat_at": one.beat_at, "is_alive": one.beat_at >= alive_since}
        for one in ClusterCanary.objects.order_by("cluster", "host")
    ]

"""How the queue has been doing: figures for clients, for the health page and for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Avg, Count, F, Max, Min, Q
from django.db.models.functions import Extract, Now
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator import health, metrics

from .clusters import Cluster
from .models import ClusterCanary, Executor, Job, JobItem, Lane, Queue
from .states import ACTIVE, ItemStatus, JobStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser, AnonymousUser

DEFAULT_HOURS = 24


def of_jobs_visible_to(user: AbstractUser | AnonymousUser, *, hours: int = DEFAULT_HOURS) -> dict[str, Any]:
    """Sum up the user's jobs. Averages, rates and usage are over the last `hours`; counts are of now."""
    jobs = Job.objects.visible_to(user)
    since = Now() - timedelta(hours=hours)
    return {
        **_counts(jobs, since),
        **_usage(jobs, since, hours),
        "workers": workers(),
    }


def _counts(jobs: Any, since: Any) -> dict[str, Any]:
    present = Q(archived=False)
    figures = jobs.aggregate(
        activeJobs=Count("pk", filter=Q(status__in=ACTIVE)),
        pendingJobs=Count("pk", filter=Q(status=JobStatus.PENDING)),
        runningJobs=Count("pk", filter=Q(status=JobStatus.RUNNING)),
        completedJobs=Count("pk", filter=present & Q(status=JobStatus.COMPLETED)),
        failedJobs=Count("pk", filter=present & Q(status=JobStatus.FAILED)),
        partialJobs=Count("pk", filter=present & Q(status=JobStatus.PARTIAL)),
        cancelledJobs=Count("pk", filter=present & Q(status=JobStatus.CANCELLED)),
        archivedJobs=Count("pk", filter=Q(archived=True)),
        wait=Avg(F("started_at") - F("created_at"), filter=Q(started_at__gte=since)),
        processing=Avg(F("completed_at") - F("started_at"), filter=Q(completed_at__gte=since)),
        last24Hours=Count("pk", filter=Q(created_at__gte=Now() - timedelta(hours=24))),
        last7Days=Count("pk", filter=Q(created_at__gte=Now() - timedelta(days=7))),
        last30Days=Count("pk", filter=Q(created_at__gte=Now() - timedelta(days=30))),
    )
    return {
        "averageWaitTime": _seconds(figures.pop("wait")),
        "averageProcessingTime": _seconds(figures.pop("processing")),
        "historicalJobCounts": {name: figures.pop(name) for name in ("last24Hours", "last7Days", "last30Days")},
        **figures,
    }


def _usage(jobs: Any, since: Any, hours: int) -> dict[str, Any]:
    """Count completed items by perspective. Only jobs that were open since then can have any: no index of all items
    by time is kept, because every item would pay for it.
    """
    touched = jobs.filter(Q(completed_at=None) | Q(completed_at__gte=since), started_at__isnull=False)
    usage = list(
        JobItem.objects.filter(job__in=touched, status=ItemStatus.COMPLETED, completed_at__gte=since)
        .values("perspective")
        .annotate(count=Count("pk"), averageTime=Avg("processing_time"))
        .order_by("-count", "perspective")
    )
    return {
        "itemsPerMinute": round(sum(row["count"] for row in usage) / (hours * 60), 3),
        "perspectiveUsage": [row for row in usage if row["perspective"]],
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else round(duration.total_seconds(), 3)


def workers() -> list[dict[str, Any]]:
    """List who works: our clusters by their last sign of life, and workers elsewhere by the leases they hold."""
    held = Lane.objects.filter(token__isnull=False, lease_expires_at__gt=Now())
    at_work: dict[tuple[str, str], int] = {}
    ours = held.filter(job__executor=Executor.INTERNAL)
    for cluster, owner, n in ours.values_list("job__cluster", "owner").annotate(n=Count("pk")):
        place = (cluster, owner.rpartition(":")[0])
        at_work[place] = at_work.get(place, 0) + n
    found = [
        {
            "name": beat.cluster,
            "host": beat.host,
            "heartbeatAt": beat.beat_at,
            "running": at_work.get((beat.cluster, beat.host), 0),
        }
        for beat in _alive().order_by("cluster", "host")
    ]
    elsewhere = held.filter(job__executor=Executor.EXTERNAL).values("owner")
    found += [
        {"name": row["owner"], "host": "", "heartbeatAt": row["seen"], "running": row["n"]}
        for row in elsewhere.annotate(n=Count("pk"), seen=Max("renewed_at")).order_by("owner")
    ]
    return found


def _alive() -> Any:
    return ClusterCanary.objects.filter(beat_at__gt=Now() - timedelta(seconds=settings.CANARY_STALE_SECONDS))


# --- Health


def _queue_health() -> Mapping[str, Any]:
    """Degraded when a job could start and does not: nothing runs beside it and nobody paused the queue."""
    waiting = Job.objects.filter(status=JobStatus.PENDING, paused=False)
    figures = waiting.aggregate(n=Count("pk"), age=Extract(Now() - Min("created_at"), "epoch"))
    is_stuck = False
    patience = timedelta(seconds=2 * settings.RECONCILE_SECONDS)
    for queue in Queue.objects.filter(paused=False):
        stale = waiting.filter(queue=queue, created_at__lt=Now() - patience).exists()
        is_busy = Job.objects.filter(queue=queue, status=JobStatus.RUNNING).exists()
        is_stuck |= stale and not is_busy and queue.job_limit > 0
    return {
        "status": health.DEGRADED if is_stuck else health.HEALTHY,
        "pending": figures["n"],
        "oldest_seconds": round(float(figures["age"]), 1) if figures["age"] is not None else 0,
    }


def _workers_health() -> Mapping[str, Any]:
    clusters = list(_alive().values_list("cluster", flat=True))
    is_complete = set(clusters) >= set(Cluster.values)
    return {"status": health.HEALTHY if is_complete else health.DEGRADED, "alive": len(clusters)}


health.register("queue", _queue_health)
health.register("workers", _workers_health)


# --- Prometheus


class QueueCollector(Collector):
    """Read the queue when it is scraped: the rows are the truth, whichever process changed them."""

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("desk_jobs", "Jobs that are not archived, by status.", labels=["status"])
        n_jobs = dict(
            Job.objects.filter(archived=False).values_list("status").annotate(n=Count("pk")).order_by("status")
        )
        for status in JobStatus.values:
            jobs.add_metric([status], n_jobs.get(status, 0))
        yield jobs
        totals = self._closed_items()
        items = CounterMetricFamily("desk_items_closed", "Items that were closed, by outcome.", labels=["status"])
        for status in (ItemStatus.COMPLETED, ItemStatus.FAILED, ItemStatus.CANCELLED):
            items.add_metric([status.value], totals[status])
        yield items
        alive = GaugeMetricFamily("desk_workers_alive", "Clusters with a recent sign of life.", labels=["cluster"])
        n_alive = dict(_alive().values_list("cluster").annotate(n=Count("pk")).order_by("cluster"))
        for cluster in Cluster.values:
            alive.add_metric([cluster], n_alive.get(cluster, 0))
        yield alive
        n_lanes = Lane.objects.filter(token__isnull=False, lease_expires_at__gt=Now()).count()
        yield GaugeMetricFamily("desk_lanes_held", "Lanes at work.", value=n_lanes)

    def describe(self) -> list[Metric]:
        return []  # so that registering asks nothing of a database that may not be there yet

    def _closed_items(self) -> dict[ItemStatus, int]:
        from django.db.models import Sum

        of_jobs = Job.objects.aggregate(
            completed=Sum("processed_images"), failed=Sum("failed_images"), cancelled=Sum("cancelled_images")
        )
        of_lanes = Lane.objects.aggregate(completed=Sum("n_completed"), failed=Sum("n_failed"))
        return {
            ItemStatus.COMPLETED: (of_jobs["completed"] or 0) + (of_lanes["completed"] or 0),
            ItemStatus.FAILED: (of_jobs["failed"] or 0) + (of_lanes["failed"] or 0),
            ItemStatus.CANCELLED: of_jobs["cancelled"] or 0,
        }


metrics.registry.register(QueueCollector())

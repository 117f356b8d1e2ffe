"""Canary tasks: a worker that runs one proves that its cluster still takes tasks (docs/explanation/supervision.md)."""

import socket
from collections.abc import Iterable

from django.db.models.functions import Now
from django_q.signing import BadSignature, SignedPackage
from django_q.tasks import async_task

from .clusters import Cluster
from .models import ClusterCanary
from .taskbroker import takeable

BEAT = "jobs.canary.beat"


def ring(clusters: Iterable[str] = Cluster.values) -> list[str]:
    """Enqueue a canary for each cluster that has none waiting: a cluster that is away finds one, not thousands.

    Returns the clusters that were rung.
    """
    rung = [cluster for cluster in clusters if not _is_queued(cluster)]
    for cluster in rung:
        async_task(BEAT, cluster, q_options={"cluster": cluster})
    return rung


def beat(cluster: str) -> None:
    """Write down that this host's workers of the cluster take tasks."""
    ClusterCanary.objects.bulk_create(
        [ClusterCanary(cluster=cluster, host=socket.gethostname(), beat_at=Now())],
        update_conflicts=True,
        unique_fields=["cluster", "host"],
        update_fields=["beat_at"],
    )


def _is_queued(cluster: str) -> bool:
    """Look for a canary that nobody has taken. One that a worker took and lost is not in the way of the next."""
    untaken = takeable(cluster)
    return any(_function_of(row.payload) == BEAT for row in untaken.order_by("-pk")[:200])


def _function_of(payload: str) -> str | None:
    try:
        return str(SignedPackage.loads(payload)["func"])
    except (BadSignature, TypeError):  # another desk's key; django-q throws the task away
        return None

"""The administration's front page: what needs an operator, and how the desk is. Wired in by UNFOLD's settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, Sum
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django_q.models import Failure

from captioning.models import Provider
from jobs.models import BrokerDelivery, JobEvent, Queue

from . import state
from .disk import Disk

RECENT_EVENTS = 12


@dataclass(frozen=True)
class Concern:
    """Something that an operator should look at, and where."""

    words: str
    address: str


def fill(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add to the front page what this user may see of the desk."""
    if not request.user.has_perm("jobs.view_job"):
        return context
    figures, workers, disk = state.figures(request.user), state.workers(), Disk.look()
    return context | {
        "figures": figures,
        "workers": workers,
        "disk": disk,
        "concerns": list(_concerns(figures, workers, disk)),
        "queues": Queue.objects.with_load().order_by("name"),
        "providers": _providers(),
        "events": JobEvent.objects.exclude(user=None).select_related("user", "job").order_by("-pk")[:RECENT_EVENTS],
    }


def _concerns(figures: dict[str, Any], workers: list[dict[str, Any]], disk: Disk) -> Iterator[Concern]:
    dead = [worker for worker in workers if not worker["is_alive"]]
    if not workers:
        yield Concern(_("No worker has reported yet: nothing runs."), reverse("admin:jobs_queue_changelist"))
    for worker in dead:
        words = _("Cluster %(cluster)s on %(host)s gives no sign of life.") % worker
        yield Concern(words, reverse("admin:jobs_queue_changelist"))
    for queue in Queue.objects.filter(paused=True).order_by("name"):
        yield Concern(_("The queue %(name)s is paused.") % {"name": queue.name}, reverse("admin:jobs_queue_changelist"))
    if n := figures["failed"]:
        words = ngettext("%(n)d job failed, wholly or in part.", "%(n)d jobs failed, wholly or in part.", n) % {"n": n}
        yield Concern(words, f"{reverse('admin:jobs_job_changelist')}?standing=finished&status__in=failed,partial")
    if n := BrokerDelivery.objects.exclude(parked_at=None).count():
        words = ngettext("%(n)d stream of events is parked.", "%(n)d streams of events are parked.", n) % {"n": n}
        yield Concern(words, reverse("admin:jobs_brokerdelivery_changelist"))
    if n := Failure.objects.filter(stopped__gt=Now() - timedelta(days=1)).count():
        words = ngettext("%(n)d task of the workers failed today.", "%(n)d tasks of the workers failed today.", n)
        yield Concern(words % {"n": n}, reverse("admin:django_q_failure_changelist"))
    if disk.is_nearly_full:
        yield Concern(_("The disk is nearly full."), reverse("admin:jobs_jobarchive_changelist"))


def _providers() -> Any:
    """Providers with what was asked of them in the last day."""
    recent = Q(calls__created_at__gte=Now() - timedelta(days=1))
    return Provider.objects.order_by("name").annotate(
        n_calls=Count("calls", filter=recent),
        n_failed=Count("calls", filter=recent & ~Q(calls__error_code="")),
        spent_usd=Sum("calls__cost_usd", filter=recent),
    )

"""What pages say of jobs, and what the frame of every page says of the queue."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django import template
from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Count, Q
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from jobs.models import Job
from jobs.states import ACTIVE, JobStatus
from jobs.tallies import Series

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


@register.simple_tag
def bar(job: Any, tall: bool = False) -> SafeString:
    """Draw how much of a job is closed, by outcome."""
    share = 100 / max(job.total_images, 1)
    completed, failed, cancelled = (round(n * share, 2) for n in (job.n_completed, job.n_failed, job.n_cancelled))
    said = _("%(percent)d %% done: %(completed)d completed, %(failed)d failed of %(total)d") % {
        "percent": job.progress,
        "completed": job.n_completed,
        "failed": job.n_failed,
        "total": job.total_images,
    }
    return format_html(
        '<svg class="bar{}" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="bar-completed" width="{}" height="1"/><rect class="bar-failed" x="{}" width="{}" height="1"/>'
        '<rect class="bar-cancelled" x="{}" width="{}" height="1"/></svg>',
        " tall" if tall else "",
        said,
        completed,
        completed,
        failed,
        round(completed + failed, 2),
        cancelled,
    )


@register.filter
def rate(job: Any) -> float | None:
    """Items closed in a second: now, where the job runs; on average, where it is final."""
    if not job.is_final:
        return getattr(job, "items_per_second", None)
    if job.started_at is None or job.completed_at is None or not job.n_closed:
        return None
    seconds = (job.completed_at - job.started_at).total_seconds()
    return job.n_closed / seconds if seconds > 0 else None


@register.filter
def speed(per_second: float | None) -> str:
    """Write a rate with the unit that leaves it readable: 3.1/s, 12/min, 4/h."""
    if per_second is None:
        return ""
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        amount = per_second * factor
        if amount >= 1 or unit == "h":
            return f"{amount:,.0f}/{unit}" if amount >= 10 else f"{amount:.1f}/{unit}"
    raise AssertionError("an hour is the last unit")


@register.filter
def took(job: Job) -> timedelta | None:
    return job.completed_at - job.started_at if job.completed_at and job.started_at else None


@register.filter
def kind(job: Job) -> str:
    """Write the type of a job as people say it."""
    return job.type.replace("_PERSPECTIVE", "").replace("_", " ").lower()


@register.filter
def described(event: Any) -> str:
    """Write what happened, in words."""
    n = event.data.get("count") or 0
    match event.type:
        case "JOB_ITEM_COMPLETED":
            return ngettext("%(n)d item completed", "%(n)d items completed", n) % {"n": n}
        case "JOB_ITEM_FAILED":
            return ngettext("%(n)d item failed", "%(n)d items failed", n) % {"n": n}
        case "JOB_PROGRESS":
            return _("%(percent)d %% done") % {"percent": event.data.get("progress") or 0}
    return str(_WORDS.get(event.type, event.type))


_WORDS = {
    "JOB_CREATED": gettext_lazy("Created"),
    "JOB_READY": gettext_lazy("Ready: nothing is in its way any more"),
    "JOB_STARTED": gettext_lazy("Started"),
    "JOB_COMPLETED": gettext_lazy("Completed"),
    "JOB_FAILED": gettext_lazy("Failed"),
    "JOB_CANCELLED": gettext_lazy("Cancelled"),
    "JOB_PAUSED": gettext_lazy("Paused"),
    "JOB_RESUMED": gettext_lazy("Resumed"),
    "JOB_RETRIED": gettext_lazy("Failed items retried"),
    "JOB_ARCHIVED": gettext_lazy("Archived"),
    "JOB_RESTORED": gettext_lazy("Restored"),
    "QUEUE_REORDERED": gettext_lazy("Put in another order"),
    "LIMITS_CHANGED": gettext_lazy("Limits changed"),
}


@register.simple_tag
def chart(series: Series, name: str) -> SafeString:
    """Lay out a chart of throughput, which chart.js draws; without scripts, its words remain."""
    said = _("%(name)s: at most %(peak)s items a minute") % {"name": name, "peak": f"{series.peak:,.0f}"}
    return format_html(
        '<figure class="chart" id="chart" data-chart="{}" data-completed="{}" data-failed="{}">'
        '<figcaption class="small muted">{}</figcaption></figure>',
        json.dumps(series.as_json(), separators=(",", ":")),
        _("completed"),
        _("failed"),
        said,
    )

"""The home page: what runs, what needs somebody, and on a fresh desk where to begin."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from captioning.models import Dataset
from captioning.views import demo_of
from jobs.models import ClusterCanary, Job
from jobs.views import jobs_at_work, jobs_in_trouble

LISTED = 8


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    is_fresh = not Job.objects.visible_to(request.user).exists()
    alive_since = timezone.now() - timedelta(seconds=settings.CANARY_STALE_SECONDS)
    context = {
        "is_fresh": is_fresh,
        "at_work": jobs_at_work(request.user, LISTED),
        "in_trouble": jobs_in_trouble(request.user, LISTED),
        "workers": [
            {"cluster": one.cluster, "host": one.host, "beat_at": one.beat_at, "is_alive": one.beat_at >= alive_since}
            for one in ClusterCanary.objects.order_by("cluster", "host")
        ],
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

"""The home page: what runs, what needs somebody, how the desk is; and on a fresh desk where to begin."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from captioning.models import Dataset
from captioning.pages.demo import demo_of
from jobs import tallies
from jobs.models import Job
from jobs.pages.rows import jobs_at_work, jobs_in_trouble

from . import state
from .answers import is_htmx
from .disk import Disk

LISTED = 8
CHART_MINUTES = 60


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    is_fresh = not Job.objects.visible_to(request.user).exists()
    context = {
        "is_fresh": is_fresh,
        "figures": state.figures(request.user),
        "at_work": jobs_at_work(request.user, LISTED),
        "in_trouble": jobs_in_trouble(request.user, LISTED),
        "throughput": tallies.of_jobs_visible_to(request.user, minutes=CHART_MINUTES),
        "workers": state.workers(),
        "disk": Disk.look() if request.user.is_staff else None,
        "datasets": Dataset.objects.visible_to(request.user).with_counts().order_by("-updated_at", "name")[:LISTED],
    }
    if is_htmx(request):
        return render(request, "desk/_home.html", context)
    return render(request, "desk/home.html", context | (demo_of(request.user) if is_fresh else {}))


@login_required
@require_safe
def counts(request: HttpRequest) -> HttpResponse:
    """The running and waiting jobs that the top line shows."""
    return render(request, "_counts.html")

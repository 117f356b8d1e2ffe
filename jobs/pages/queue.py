"""The queue page: what runs, what waits, what finished, and the limits of it all."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from jobs.bulk import VERBS, BulkAction
from jobs.clusters import QueueName
from jobs.models import Job, Queue
from jobs.saved_views import SavedView
from orchestrator.answers import action, is_htmx, staff_only, user_of
from orchestrator.problems import Invalid, NotFound

from .filters import LABELS, STATUSES, JobFilter
from .rows import finished_rows, open_rows

JOBS_A_PAGE = 25  # each with its buttons; below 150 kB of HTML, and quick to draw anew with every event
RECENTLY_FINISHED = 8
MOST_SAVED_VIEWS = 30
LONGEST_NAME = 60


@login_required
@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    chosen = JobFilter.of(request.GET)
    context = _list_context(request, chosen)
    if is_htmx(request):
        return render(request, "jobs/_queue.html", context)
    context |= {
        "statuses": LABELS,
        "saved_views": SavedView.objects.filter(user=user_of(request)).order_by("name"),
    }
    return render(request, "jobs/queue.html", context)


def _list_context(request: HttpRequest, chosen: JobFilter) -> dict[str, Any]:
    visible = Job.objects.visible_to(request.user)
    page = Paginator(chosen.jobs(visible), JOBS_A_PAGE).get_page(request.GET.get("page"))
    page.object_list = open_rows(page.object_list)
    finished: list[Any] = []
    if chosen.is_empty:
        newest = visible.filter(STATUSES["finished"], completed_at__isnull=False).order_by("-completed_at", "-pk")
        finished = finished_rows(newest[:RECENTLY_FINISHED])
    queues = list(Queue.objects.order_by("name"))
    return {
        "chosen": chosen,
        "page": page,
        "finished": finished,
        "queues": queues,
        "main_queue": next(one for one in queues if one.name == QueueName.DEFAULT),
        "queue_version": sum(one.version for one in queues),
        "bulk_verbs": {name: verb for name, verb in VERBS.items() if not verb.parameters},
        "bulk_actions": BulkAction.objects.shown_to(request.user)[:3],
        "n_archived": visible.filter(archived=True).count(),
    }


@action
def change_queue(request: HttpRequest, name: str, verb: str) -> str:
    """Pause, resume or limit one of the queues. Staff only: it concerns everybody."""
    staff_only(request, "jobs.change_queue")
    queue = get_object_or_404(Queue, name=name)
    match verb:
        case "pause":
            queue.pause(by=user_of(request))
            return _("Paused: what runs finishes, nothing new starts.")
        case "resume":
            queue.resume(by=user_of(request))
            return _("Going on.")
        case "limits":
            queue.set_limits(
                max_jobs=_limit(request, "max_jobs", 0),
                max_items=_limit(request, "max_items", 1),
                by=user_of(request),
            )
            return _("At most %(jobs)d jobs at once, %(items)d items of each.") % {
                "jobs": queue.job_limit,
                "items": queue.item_limit,
            }
    raise NotFound(_("A queue cannot %(verb)s.") % {"verb": verb})


def _limit(request: HttpRequest, name: str, least: int) -> int | None:
    """Read a limit from the form; empty means the value of the environment."""
    text = request.POST.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not least <= int(text) <= 64:
        raise Invalid(
            _("Give a number from %(least)d to 64 instead of “%(text)s”, or leave it empty for the default.")
            % {"least": least, "text": text}
        )
    return int(text)


# --- Saved views


@action
def save_view(request: HttpRequest) -> str:
    """Keep the filter of the page under a name; the same name again is replaced."""
    name = request.POST.get("name", "").strip()
    if not name or len(name) > LONGEST_NAME:
        raise Invalid(_("Give the view a name of at most %(n)d characters.") % {"n": LONGEST_NAME})
    chosen = JobFilter.of(request.POST)
    if chosen.is_empty:
        raise Invalid(_("Choose a filter or search for something first; this view shows everything."))
    mine = SavedView.objects.filter(user=user_of(request))
    if mine.exclude(name=name).count() >= MOST_SAVED_VIEWS:
        raise Invalid(_("You have %(n)d saved views; delete one first.") % {"n": MOST_SAVED_VIEWS})
    SavedView.objects.update_or_create(user=user_of(request), name=name, defaults={"query": chosen.query})
    return f"/queue?{chosen.query}"


@action
def delete_view(request: HttpRequest, view_id: int) -> str:
    view = get_object_or_404(SavedView, pk=view_id, user=user_of(request))
    view.delete()
    return _("The view “%(name)s” is gone; its jobs are untouched.") % {"name": view.name}

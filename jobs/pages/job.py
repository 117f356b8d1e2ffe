"""The page of one job: how far it is, what failed and why, and what can be done about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import select_template
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from jobs import cloning, latency, ordering, sql, tallies
from jobs.models import Job, JobItem, Lane
from jobs.querysets import JobQuerySet
from jobs.states import ItemStatus
from orchestrator import roles
from orchestrator.answers import action, user_of
from orchestrator.problems import Conflict, Invalid, NotFound

from .items import items_context

# Failures that are read to group them by cause; a job with more says so.
FAILURES_READ = 1000
EVENTS_A_PAGE = 100
TABS = ("items", "timeline", "configuration")


@dataclass(frozen=True)
class Cause:
    """Items of one job that failed for the same reason."""

    code: str
    n: int
    example: str
    permanent: bool


@login_required
@require_safe
def job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    shown = _job(request, job_id)
    tab = request.GET.get("tab", "items")
    if tab not in TABS:
        raise Invalid(_("A job has no page “%(tab)s”.") % {"tab": tab})
    context = _progress_context(shown) | {"tab": tab} | _tab_context(request, shown, tab)
    return render(request, "jobs/job.html", context)


@login_required
@require_safe
def piece(request: HttpRequest, job_id: UUID, name: str) -> HttpResponse:
    """One part of the job page as it is now."""
    shown = _job(request, job_id)
    if name == "menu":
        return render(request, "jobs/_menu.html", {"job": shown})
    if name == "progress":
        return render(request, "jobs/_progress.html", _progress_context(shown))
    if name in {"items", "timeline"}:
        return render(request, f"jobs/_{name}.html", _tab_context(request, shown, name) | {"tab": name})
    raise NotFound(_("A job page has no piece “%(name)s”.") % {"name": name})


def _job(request: HttpRequest, job_id: UUID) -> Any:
    jobs = Job.objects.visible_to(request.user).select_related("user", "queue", "stream")
    return get_object_or_404(jobs.with_counts().with_position().with_pace().with_dependencies(), job_id=job_id)


def _progress_context(shown: Any) -> dict[str, Any]:
    results = select_template([f"{shown.pipeline}/_job_results.html", "jobs/_job_results.html"])
    held = list(Lane.objects.filter(job=shown, token__isnull=False).values_list("token", "report"))
    # By the tokens of its few lanes, since no index tells which of a million items run.
    n_running = JobItem.objects.filter(
        status=ItemStatus.RUNNING, lane_token__in=[token for token, _report in held]
    ).count()
    return {
        "job": shown,
        "n_running": n_running,
        "reports": [report for _token, report in held if report],
        "throughput": tallies.of_job(shown) if shown.started_at else None,
        "latency": latency.of_job(shown) if shown.started_at else None,
        "causes": _causes(shown) if shown.n_failed else [],
        "is_every_failure_read": shown.n_failed <= FAILURES_READ,
        "can_clone": cloning.can_clone(shown),
        # A pipeline shows its results in its own words; the queue knows only where to look for them.
        "results": results,
        "more_actions": select_template([f"{shown.pipeline}/_job_actions.html", "jobs/_nothing.html"]),
    }


def _causes(shown: Job) -> list[Cause]:
    """Group what failed by its error code, most frequent first."""
    return [Cause(*row) for row in sql.rows("causes", {"job": shown.pk, "most": FAILURES_READ})]


def _tab_context(request: HttpRequest, shown: Any, tab: str) -> dict[str, Any]:
    match tab:
        case "items":
            return {"job": shown} | items_context(request, shown)
        case "timeline":
            return {"job": shown} | _timeline_context(request, shown)
    return {
        "config_text": json.dumps(shown.config, indent=2, ensure_ascii=False),
        "lanes": list(shown.lanes.filter(retired=False).order_by("n")),
    }


def _timeline_context(request: HttpRequest, shown: Job) -> dict[str, Any]:
    """What happened, newest first; older pages go on before a number."""
    text = request.GET.get("before", "")
    if text and not text.isdecimal():
        raise Invalid(_("`before` is the number of an event."))
    events = shown.events.filter(sequence__isnull=False).select_related("user").order_by("-sequence")
    if text:
        events = events.filter(sequence__lt=int(text))
    page = list(events[: EVENTS_A_PAGE + 1])
    return {
        "events": page[:EVENTS_A_PAGE],
        "before": text,
        "next_before": page[EVENTS_A_PAGE - 1].sequence if len(page) > EVENTS_A_PAGE else None,
    }


# --- Verbs


def _cancel(job: Job, request: HttpRequest) -> str:
    job.cancel(by=user_of(request), reason=request.POST.get("reason", ""))
    return ngettext(
        "Cancelled. %(n)d finished item keeps its result.",
        "Cancelled. %(n)d finished items keep their results.",
        job.processed_images,
    ) % {"n": job.processed_images}


def _pause(job: Job, request: HttpRequest) -> str:
    job.pause(by=user_of(request))
    return _("Paused: what runs finishes, nothing new starts.")


def _resume(job: Job, request: HttpRequest) -> str:
    job.resume(by=user_of(request))
    return _("Going on.")


def _archive(job: Job, request: HttpRequest) -> str:
    job.archive(by=user_of(request), reason=request.POST.get("reason", ""))
    return _("Archived. It can be restored from the archive.")


def _restore(job: Job, request: HttpRequest) -> str:
    job.restore(by=user_of(request))
    return _("Restored.")


def _retry(job: Job, request: HttpRequest) -> str:
    """Retry what failed; with `code`, only what failed for this cause."""
    ids = None
    if "code" in request.POST:
        failed = job.items.failed().filter(error_code=request.POST["code"])
        ids = list(failed.values_list("pk", flat=True))
    n_retried = job.retry_failed(by=user_of(request), item_ids=ids)
    return ngettext(
        "%(n)d failed item goes back into the queue.", "%(n)d failed items go back into the queue.", n_retried
    ) % {"n": n_retried}


def _clone(job: Job, request: HttpRequest) -> str:
    return f"/jobs/{cloning.clone(job, by=user_of(request)).job_id}"


def _priority(job: Job, request: HttpRequest) -> str:
    text = request.POST.get("priority", "").strip()
    if not text.isdecimal() or int(text) > 1000:
        raise Invalid(_("Choose a priority from 0 to 1000; a lower number runs first."))
    if not ordering.set_priority(job.job_id, int(text), by=user_of(request)).updated:
        raise Conflict(_("The job has started meanwhile; only jobs that wait have a place in the queue."))
    return _("“%(job)s” has priority %(priority)s now.") % {"job": job, "priority": text}


def _first(job: Job, request: HttpRequest) -> str:
    return _place(job, request, before=_queued(job, request).in_order().first())


def _up(job: Job, request: HttpRequest) -> str:
    ahead = Q(priority__lt=job.priority) | Q(priority=job.priority, rank__lt=job.rank)
    return _place(job, request, before=_queued(job, request).filter(ahead).in_order().last())


def _down(job: Job, request: HttpRequest) -> str:
    behind = Q(priority__gt=job.priority) | Q(priority=job.priority, rank__gt=job.rank)
    return _place(job, request, after=_queued(job, request).filter(behind).in_order().first())


def _queued(job: Job, request: HttpRequest) -> JobQuerySet:
    """The other jobs that have not started: those that a job can stand before or after."""
    queued = Job.objects.visible_to(request.user).filter(status__in=ordering.MOVABLE)
    return queued.exclude(pk=job.pk)


def _place(job: Job, request: HttpRequest, *, before: Job | None = None, after: Job | None = None) -> str:
    if before is None and after is None:
        return _("It stands there already.")
    reordering = ordering.place(
        job.job_id,
        before=before.job_id if before else None,
        after=after.job_id if after else None,
        by=user_of(request),
        among=Job.objects.visible_to(request.user),
    )
    if not reordering.updated:
        raise Conflict(_("One of the two has started meanwhile; only jobs that wait can be moved."))
    if before:
        return _("Moved before “%(job)s”.") % {"job": before}
    return _("Moved behind “%(job)s”.") % {"job": after}


VERBS: dict[str, Callable[[Job, HttpRequest], str]] = {
    "cancel": _cancel,
    "pause": _pause,
    "resume": _resume,
    "archive": _archive,
    "restore": _restore,
    "retry": _retry,
    "clone": _clone,
    "priority": _priority,
    "first": _first,
    "up": _up,
    "down": _down,
}

# Permissions of verbs that concern more than this one job.
NEEDS = {"clone": "jobs.add_job"} | dict.fromkeys(("priority", "first", "up", "down"), "jobs.change_queue")


@action
def change_job(request: HttpRequest, job_id: UUID, verb: str) -> str:
    """Do one of VERBS to a job that this user may see."""
    if verb not in VERBS:
        raise NotFound(_("A job cannot %(verb)s.") % {"verb": verb})
    roles.require(request.user, NEEDS.get(verb, "jobs.change_job"))
    return VERBS[verb](get_object_or_404(Job.objects.visible_to(request.user), job_id=job_id), request)

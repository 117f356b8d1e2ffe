"""The pages of the queue and of one job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import select_template
from django.views.decorators.http import require_safe

from orchestrator.answers import action, staff_only, user_of
from orchestrator.problems import Conflict, Invalid, NotFound

from . import ordering
from .models import Job, JobItem, Queue
from .querysets import JobQuerySet
from .states import ACTIVE, FINAL, ItemStatus, JobStatus

JOBS_A_PAGE = 25  # each with its buttons; below 150 kB of HTML, and quick to draw anew with every event
ITEMS_A_PAGE = 50
RECENTLY_FINISHED = 15
# Failures that are read to group them by cause; a job with more says so.
FAILURES_READ = 2000

# What the status filter of the queue page offers, in the order of a job's life.
FILTERS: dict[str, Q] = {
    "active": Q(archived=False, status__in=ACTIVE),
    "running": Q(archived=False, status=JobStatus.RUNNING, paused=False),
    "pending": Q(archived=False, status=JobStatus.PENDING),
    "waiting": Q(archived=False, status=JobStatus.WAITING),
    "paused": Q(archived=False, paused=True),
    "finished": Q(archived=False, status__in=FINAL),
    "failed": Q(archived=False, status__in=(JobStatus.FAILED, JobStatus.PARTIAL)),
    "archived": Q(archived=True),
}


@dataclass(frozen=True)
class Cause:
    """Items of one job that failed for the same reason."""

    code: str
    n: int
    example: str
    permanent: bool


# --- The queue


@login_required
@require_safe
def queue(request: HttpRequest) -> HttpResponse:
    template = "jobs/_queue.html" if request.htmx else "jobs/queue.html"  # type: ignore[attr-defined]
    return render(request, template, _queue_context(request))


def _queue_context(request: HttpRequest) -> dict[str, Any]:
    chosen = request.GET.get("status", "")
    search = request.GET.get("search", "").strip()
    if chosen and chosen not in FILTERS:
        raise Invalid(f"There is no status {chosen!r} to filter by; try {', '.join(FILTERS)}.")
    visible = Job.objects.visible_to(request.user)
    context: dict[str, Any] = {
        "filters": list(FILTERS),
        "chosen": chosen,
        "search": search,
        "queues": Queue.objects.order_by("name"),
        "n_archived": visible.filter(FILTERS["archived"]).count(),
    }
    if chosen or search:
        found = visible.filter(FILTERS[chosen]) if chosen else visible.filter(archived=False)
        found = _searched(found, search)
        is_queue = chosen not in {"finished", "failed", "archived"} and not search
        ordered = found.in_order() if is_queue else found.order_by("-pk")
        page = Paginator(ordered, JOBS_A_PAGE).get_page(request.GET.get("page"))
        page.object_list = _shown(page.object_list)
        return context | {"page": page}
    active = visible.filter(FILTERS["active"])
    page = Paginator(active.in_order(), JOBS_A_PAGE).get_page(request.GET.get("page"))
    page.object_list = _shown(page.object_list)
    finished = visible.filter(FILTERS["finished"]).order_by("-completed_at", "-pk")[:RECENTLY_FINISHED]
    return context | {"page": page, "finished": _shown(finished)}


def _searched(jobs: JobQuerySet, search: str) -> JobQuerySet:
    if not search:
        return jobs
    words = Q(name__icontains=search) | Q(type__icontains=search) | Q(user__username__icontains=search)
    with suppress(ValueError):
        words |= Q(job_id=UUID(search))
    return jobs.filter(words)


def _shown(jobs: Any) -> list[Job]:
    """Fetch a page of jobs with everything that its rows say. jobs: a queryset."""
    return list(jobs.select_related("user").prefetch_related("dependencies__depends_on").with_counts().with_position())


def jobs_at_work(user: Any, limit: int) -> list[Job]:
    """The first jobs of the queue, for the home page."""
    return _shown(Job.objects.visible_to(user).filter(FILTERS["active"]).in_order()[:limit])


def jobs_in_trouble(user: Any, limit: int) -> list[Job]:
    """The last jobs that failed, wholly or in part, and are not archived."""
    return _shown(Job.objects.visible_to(user).filter(FILTERS["failed"]).order_by("-completed_at", "-pk")[:limit])


@action
def change_queue(request: HttpRequest, name: str, verb: str) -> str:
    """Pause, resume or limit one of the queues. Staff only: it concerns everybody."""
    staff_only(request)
    queue = get_object_or_404(Queue, name=name)
    match verb:
        case "pause":
            queue.pause(by=user_of(request))
            return "Paused: running pictures finish, nothing new starts."
        case "resume":
            queue.resume(by=user_of(request))
            return "Going on."
        case "limits":
            queue.set_limits(
                max_jobs=_limit(request, "max_jobs", 0),
                max_items=_limit(request, "max_items", 1),
                by=user_of(request),
            )
            return f"At most {queue.job_limit} jobs at once, {queue.item_limit} pictures of each."
    raise NotFound(f"A queue cannot {verb}.")


def _limit(request: HttpRequest, name: str, least: int) -> int | None:
    """Read a limit from the form; empty means the value of the environment."""
    text = request.POST.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not least <= int(text) <= 64:
        raise Invalid(f"Give a number from {least} to 64 instead of {text!r}, or leave it empty for the default.")
    return int(text)


# --- One job


@login_required
@require_safe
def job(request: HttpRequest, job_id: UUID) -> HttpResponse:
    shown = _job(request, job_id)
    tab = request.GET.get("tab", "items")
    if tab not in {"items", "timeline", "configuration"}:
        raise Invalid(f"A job has no page {tab!r}.")
    context = _progress_context(shown) | {"tab": tab} | _tab_context(request, shown, tab)
    return render(request, "jobs/job.html", context)


@login_required
@require_safe
def piece(request: HttpRequest, job_id: UUID, name: str) -> HttpResponse:
    """One part of the job page as it is now."""
    shown = _job(request, job_id)
    if name == "progress":
        return render(request, "jobs/_progress.html", _progress_context(shown))
    if name in {"items", "timeline"}:
        return render(request, f"jobs/_{name}.html", _tab_context(request, shown, name) | {"tab": name})
    raise NotFound(f"A job page has no piece {name!r}.")


def _job(request: HttpRequest, job_id: UUID) -> Job:
    jobs = Job.objects.visible_to(request.user).select_related("user", "queue").with_counts().with_position()
    return get_object_or_404(jobs, job_id=job_id)


def _progress_context(shown: Any) -> dict[str, Any]:
    results = select_template([f"{shown.pipeline}/_job_results.html", "jobs/_job_results.html"])
    return {
        "job": shown,
        "n_left": shown.total_images - shown.n_closed,
        "n_running": JobItem.objects.filter(job=shown, status=ItemStatus.RUNNING).count(),
        "causes": _causes(shown) if shown.n_failed else [],
        "is_every_failure_read": shown.n_failed <= FAILURES_READ,
        "waits_for": [edge.depends_on for edge in shown.dependencies.select_related("depends_on")],
        "waited_for_by": [edge.job for edge in shown.dependents.select_related("job")],
        # A pipeline shows its results in its own words; the queue knows only where to look for them.
        "results": results,
    }


def _causes(shown: Job) -> list[Cause]:
    """Group what failed by its error code, most frequent first."""
    failures = shown.items.failed().order_by("seq").values_list("error_code", "error", "error_permanent")
    counts: Counter[str] = Counter()
    first: dict[str, tuple[str, bool]] = {}
    for code, error, permanent in failures[:FAILURES_READ]:
        counts[code] += 1
        first.setdefault(code, (error or "", permanent))
    return [Cause(code, n, *first[code]) for code, n in counts.most_common()]


def _tab_context(request: HttpRequest, shown: Job, tab: str) -> dict[str, Any]:
    match tab:
        case "items":
            return {"job": shown} | _items_context(request, shown)
        case "timeline":
            events = shown.events.select_related("user").order_by("-pk")
            return {"job": shown, "events": list(events[:100])}
    return {
        "config_text": json.dumps(shown.config, indent=2, ensure_ascii=False),
        "lanes": list(shown.lanes.filter(retired=False).order_by("n")),
    }


def _items_context(request: HttpRequest, shown: Job) -> dict[str, Any]:
    """A page of items after a sequence number: as fast at the millionth as at the first."""
    status = request.GET.get("item_status", "")
    if status and status not in ItemStatus.values:
        raise Invalid(f"There is no item status {status!r}.")
    try:
        after = int(request.GET.get("after", -1))
    except ValueError:
        raise Invalid("`after` is the number of an item.") from None
    items = shown.items.filter(seq__gt=after).defer("payload", "result").order_by("seq")
    if status:
        items = items.filter(status=status)
    page = list(items[: ITEMS_A_PAGE + 1])
    return {
        "items": page[:ITEMS_A_PAGE],
        "next_after": page[ITEMS_A_PAGE - 1].seq if len(page) > ITEMS_A_PAGE else None,
        "after": after,
        "item_status": status,
        "item_statuses": ItemStatus.values,
    }


def _cancel(job: Job, request: HttpRequest) -> str:
    job.cancel(by=user_of(request), reason=request.POST.get("reason", ""))
    return f"Cancelled. {job.processed_images} finished pictures keep their results."


def _pause(job: Job, request: HttpRequest) -> str:
    job.pause(by=user_of(request))
    return "Paused: what runs finishes, nothing new starts."


def _resume(job: Job, request: HttpRequest) -> str:
    job.resume(by=user_of(request))
    return "Going on."


def _archive(job: Job, request: HttpRequest) -> str:
    job.archive(by=user_of(request), reason=request.POST.get("reason", ""))
    return "Archived. It can be restored from the archive."


def _restore(job: Job, request: HttpRequest) -> str:
    job.restore(by=user_of(request))
    return "Restored."


def _retry(job: Job, request: HttpRequest) -> str:
    """Retry what failed; with `code`, only what failed for this cause."""
    ids = None
    if "code" in request.POST:
        failed = job.items.failed().filter(error_code=request.POST["code"])
        ids = list(failed.values_list("pk", flat=True))
    n_retried = job.retry_failed(by=user_of(request), item_ids=ids)
    return f"{n_retried} of the failed go back into the queue."


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
        return "It stands there already."
    reordering = ordering.place(
        job.job_id,
        before=before.job_id if before else None,
        after=after.job_id if after else None,
        by=user_of(request),
        among=Job.objects.visible_to(request.user),
    )
    if not reordering.updated:
        raise Conflict("One of the two has started meanwhile; only jobs that wait can be moved.")
    return f"Moved {'before' if before else 'behind'} “{before or after}”."


VERBS: dict[str, Callable[[Job, HttpRequest], str]] = {
    "cancel": _cancel,
    "pause": _pause,
    "resume": _resume,
    "archive": _archive,
    "restore": _restore,
    "retry": _retry,
    "first": _first,
    "up": _up,
    "down": _down,
}


@action
def change_job(request: HttpRequest, job_id: UUID, verb: str) -> str:
    """Do one of VERBS to a job that this user may see."""
    if verb not in VERBS:
        raise NotFound(f"A job cannot {verb}.")
    return VERBS[verb](get_object_or_404(Job.objects.visible_to(request.user), job_id=job_id), request)

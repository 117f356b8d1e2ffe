"""The items of a job: a table that is as fast at the millionth as at the first, and one item with all that is known."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db.models import Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import select_template
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from jobs.models import Job, JobItem
from jobs.pipelines import Outcome, registry
from jobs.states import ItemStatus
from orchestrator.logs import without_secrets
from orchestrator.problems import Invalid

ITEMS_A_PAGE = 25  # as many as jobs: the table is drawn anew with every event
# Items that one look walks over in search of matches: some 50 ms. What lies behind is one click further.
WALK = 100_000
LONGEST_SEARCH = 200
# States with an index of their own; all matches of these are found at once.
_INDEXED = frozenset({ItemStatus.PENDING, ItemStatus.WAITING, ItemStatus.FAILED})
_HEAVY_COLUMNS = ("payload", "result")


def items_context(request: HttpRequest, shown: Any) -> dict[str, Any]:
    """Find a page of items behind a number."""
    status, search = request.GET.get("item_status", ""), request.GET.get("item_search", "").strip()
    if status and status not in ItemStatus.values:
        raise Invalid(_("There is no item status “%(status)s”.") % {"status": status})
    if len(search) > LONGEST_SEARCH or "\0" in search:
        raise Invalid(_("Search for at most %(n)d characters.") % {"n": LONGEST_SEARCH})
    after = _number(request.GET.get("after", "-1"))
    items = shown.items.filter(seq__gt=after).defer(*_HEAVY_COLUMNS).order_by("seq")
    until = None
    if status == ItemStatus.RUNNING:
        # By the tokens of its few lanes: no index tells which of a million items run.
        tokens = list(shown.lanes.filter(token__isnull=False).values_list("token", flat=True))
        items = items.filter(status=status, lane_token__in=tokens)
    elif status:
        items = items.filter(status=status)
    if search:
        items = items.filter(Q(image_path__icontains=search) | Q(perspective__icontains=search))
    if search or (status and status not in _INDEXED and status != ItemStatus.RUNNING):
        until = after + WALK
        items = items.filter(seq__lte=until)
    page = list(items[: ITEMS_A_PAGE + 1])
    next_after = page[ITEMS_A_PAGE - 1].seq if len(page) > ITEMS_A_PAGE else None
    is_cut = next_after is None and until is not None and until < _last_seq(shown)
    return {
        "items": page[:ITEMS_A_PAGE],
        "next_after": next_after,
        "look_on_after": until if is_cut else None,
        "after": after,
        "item_status": status,
        "item_search": search,
        "item_counts": _counts(shown),
    }


def _counts(shown: Any) -> dict[str, int | None]:
    """How many items stand where, from the counters; None where only counting a million rows would tell."""
    return {
        ItemStatus.WAITING.value: None,
        ItemStatus.PENDING.value: None,
        ItemStatus.RUNNING.value: None,
        ItemStatus.COMPLETED.value: shown.n_completed,
        ItemStatus.FAILED.value: shown.n_failed,
        ItemStatus.CANCELLED.value: shown.n_cancelled,
    }


def _last_seq(shown: Job) -> int:
    return shown.items.aggregate(last=Max("seq"))["last"] or 0


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise Invalid(_("`after` is the number of an item.")) from None
    if not -1 <= number < 2**31:
        raise Invalid(_("`after` is the number of an item."))
    return number


@login_required
@require_safe
def item(request: HttpRequest, job_id: UUID, seq: int) -> HttpResponse:
    """One item: its request exactly as the pipeline makes it, without secrets, and what came of it."""
    if seq >= 2**31:
        raise Invalid(_("There is no item with this number."))
    job = get_object_or_404(Job.objects.visible_to(request.user), job_id=job_id)
    shown = get_object_or_404(JobItem, job=job, seq=seq)
    asked, refusal = _request_of(shown, job)
    neighbours = shown.job.items.order_by("seq").filter(seq__in=(seq - 1, seq + 1)).values_list("seq", flat=True)
    context = {
        "job": job,
        "item": shown,
        "request_text": _pretty(asked),
        "refusal": refusal,
        "payload_text": _pretty(shown.payload),
        # What a pipeline keeps of the answer beside the result, in its own words.
        "received": select_template([f"{job.pipeline}/_item_received.html", "jobs/_nothing.html"]),
        "result_text": None if shown.result is None else _pretty(shown.result),
        "previous_seq": seq - 1 if seq - 1 in neighbours else None,
        "next_seq": seq + 1 if seq + 1 in neighbours else None,
        "image_id": shown.payload.get("image") if isinstance(shown.payload, dict) else None,
    }
    return render(request, "jobs/item.html", context)


def _request_of(shown: JobItem, job: Job) -> tuple[Any, str]:
    """Ask the pipeline for the request of an item; where it cannot be made any more, say why."""
    try:
        return registry[job.pipeline].describe(shown.as_work_item(), job.as_work_job()), ""
    except Outcome as outcome:
        return None, str(outcome)


def _pretty(value: Any) -> str:
    return json.dumps(without_secrets(value), indent=2, ensure_ascii=False, default=str)

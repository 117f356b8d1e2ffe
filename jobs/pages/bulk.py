"""Doing one thing to every job that matches: a preview with numbers, a confirmation, and ten seconds to think."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from jobs import bulk
from jobs.bulk import HOLD_SECONDS, VERBS, BulkAction, BulkVerb
from jobs.models import Job
from jobs.querysets import JobQuerySet
from orchestrator import roles
from orchestrator.answers import action, user_of
from orchestrator.problems import Invalid, NotFound

from .filters import JobFilter

LISTED = 20
MOST_NAMED = 500  # jobs chosen one by one; a filter says more in one word


@login_required
@require_safe
def preview(request: HttpRequest, verb: str) -> HttpResponse:
    """Say what would happen, with numbers, before anything does."""
    meant = _verb(verb)
    chosen = JobFilter.of(request.GET)
    jobs = _meant_jobs(request.GET, request, chosen)
    applicable = jobs.filter(meant.applies)
    n_applicable, n_all = applicable.order_by().count(), jobs.order_by().count()
    context = {
        "verb_name": verb,
        "verb": meant,
        "chosen": chosen,
        "named": request.GET.getlist("job"),
        "n": n_applicable,
        "n_left_alone": n_all - n_applicable,
        "listed": applicable.with_counts()[:LISTED],
        "n_unlisted": max(n_applicable - LISTED, 0),
        "hold_seconds": HOLD_SECONDS,
        "priority": request.GET.get("priority", ""),
    }
    return render(request, "jobs/bulk.html", context)


@action
def begin(request: HttpRequest, verb: str) -> str:
    meant = _verb(verb)
    roles.require(request.user, "jobs.change_queue" if verb == "priority" else "jobs.change_job")
    chosen = JobFilter.of(request.POST)
    bulk.announce(
        verb,
        _meant_jobs(request.POST, request, chosen),
        by=user_of(request),
        expected=_number(request.POST.get("n", "")),
        parameters=bulk.read_parameters(meant, request.POST),
    )
    return f"/queue?{chosen.query}"


@login_required
@require_safe
def pending(request: HttpRequest) -> HttpResponse:
    """The user's actions that wait, run or ended a moment ago."""
    return render(request, "jobs/_bulk_actions.html", {"bulk_actions": BulkAction.objects.shown_to(request.user)[:3]})


@action
def change(request: HttpRequest, action_id: int, verb: str) -> str:
    """Take an action back, or do not wait for its seconds to pass."""
    chosen = get_object_or_404(BulkAction, pk=action_id, user=user_of(request))
    match verb:
        case "stop":
            chosen.stop()
            n_done = chosen.n_done
            if not n_done:
                return _("Taken back; nothing was changed.")
            return ngettext(
                "Stopped; %(n)d job had been changed already.", "Stopped; %(n)d jobs had been changed already.", n_done
            ) % {"n": n_done}
        case "now":
            chosen.begin_now()
            return _("It begins now.")
    raise NotFound(_("An action cannot %(verb)s.") % {"verb": verb})


def _verb(name: str) -> BulkVerb:
    if name not in VERBS:
        raise NotFound(_("Jobs cannot %(verb)s.") % {"verb": name})
    return VERBS[name]


def _meant_jobs(query: QueryDict, request: HttpRequest, chosen: JobFilter) -> JobQuerySet:
    """The jobs ticked one by one; without any, all that match the filter."""
    visible = Job.objects.visible_to(request.user)
    named = query.getlist("job")
    if not named:
        return chosen.jobs(visible)
    if len(named) > MOST_NAMED or not all(text.isdecimal() and len(text) < 19 for text in named):
        raise Invalid(_("Choose at most %(n)d jobs one by one, or a filter for more.") % {"n": MOST_NAMED})
    return visible.filter(pk__in=named).in_order()


def _number(text: str) -> int:
    if not text.isdecimal():
        raise Invalid(_("The number of jobs is missing; look at the preview and confirm there."))
    return int(text)

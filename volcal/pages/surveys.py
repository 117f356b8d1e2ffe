"""The pages of surveys: the list, a new one, and one survey from its files to its volumes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRefresh

from jobs.models import Job
from orchestrator.answers import action, is_htmx, user_of
from orchestrator.problems import Conflict, Invalid, NotFound
from orchestrator.roles import require
from uploads.intake import address_of
from uploads.links import signed_url
from uploads.models import Upload

from .. import intake
from ..models import Label, ProductKind, Survey, results_of
from ..states import TaskStatus, current_of, failure_of, percent_of, stages_of, status_of
from ..summaries import facts_of, headline_of, is_for_people, preview_of, source_of, title_of

SURVEYS_A_PAGE = 30
ENDED = (TaskStatus.DONE, TaskStatus.ERROR, TaskStatus.KILLED)


@login_required
@require_safe
def surveys(request: HttpRequest) -> HttpResponse:
    shown = Survey.objects.visible_to(request.user).select_related("job", "user").with_standing()
    shown = shown.order_by("-created_at", "-pk")
    search = request.GET.get("survey", "").strip()
    if search:
        shown = shown.filter(name__icontains=search)
    page = Paginator(shown, SURVEYS_A_PAGE).get_page(request.GET.get("page"))
    rows = [_row(survey) for survey in page.object_list]
    template = "volcal/_surveys.html" if is_htmx(request) else "volcal/surveys.html"
    return render(request, template, {"page": page, "rows": rows, "search": search})


def _row(survey: Any) -> dict[str, Any]:
    """Say what a line of the list shows. survey: with its standing."""
    n_missing = len(Label) - survey.n_complete
    status = status_of(
        survey.job, is_complete=not n_missing, is_measured=survey.summary is not None, is_lost=survey.is_lost
    )
    return {
        "survey": survey,
        "status": status.value,
        "n_missing": n_missing,
        "headline": headline_of(survey.summary) if survey.summary else None,
        "percent": percent_of(stages_of(survey.job)) if status == TaskStatus.RUNNING else None,
    }


@login_required
@require_safe
def new(request: HttpRequest) -> HttpResponse:
    require(request.user, "volcal.add_survey")
    context = {"files": [{"label": label} for label in Label], "tus_server": settings.TUS_SERVER}
    response = render(request, "volcal/new.html", context)
    return _with_uploads(response, request)


@action
def create(request: HttpRequest) -> str:
    """Make a survey without its files, for a browser that runs no script; its page takes them."""
    require(request.user, "volcal.add_survey")
    crs = request.POST.get("crs", "").strip() or None
    survey = intake.create(by=user_of(request), crs=crs, name=request.POST.get("name", ""))
    return f"/surveys/{survey.task_id}"


@login_required
@require_safe
def survey(request: HttpRequest, task_id: UUID) -> HttpResponse:
    shown = _survey(request, task_id)
    context = _state_context(shown, request)
    if shown.summary is not None:
        context |= _results_context(shown, request)
    return _with_uploads(render(request, "volcal/survey.html", context), request)


def _with_uploads(response: HttpResponse, request: HttpRequest) -> HttpResponse:
    """Let the page send files to where uploads go, which depends on the name that the desk is called by."""
    parts = urlsplit(address_of(Upload(), request))
    response._csp_update = {"connect-src": [f"{parts.scheme}://{parts.netloc}"]}  # type: ignore[attr-defined]
    return response


@login_required
@require_safe
def state(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """The part of the page that changes while the survey runs; the whole page once it has ended.

    seen: the status that the page shows.
    """
    shown = _survey(request, task_id)
    context = _state_context(shown, request)
    seen = request.GET.get("seen", "")
    is_turned = seen != context["status"] and (context["status"] in ENDED or seen == TaskStatus.WAITING)
    return HttpResponseClientRefresh() if is_turned else render(request, "volcal/_state.html", context)


def _survey(request: HttpRequest, task_id: UUID) -> Survey:
    return get_object_or_404(Survey.objects.visible_to(request.user).select_related("job", "user"), task_id=task_id)


def _state_context(shown: Survey, request: HttpRequest) -> dict[str, Any]:
    missing = shown.missing()
    status = shown.status(missing)
    is_stuck = bool(missing) and shown.has_lost_files()
    stages = stages_of(shown.job)
    cause = failure_of(shown.job) if shown.job is not None and status in (TaskStatus.ERROR, TaskStatus.KILLED) else None
    takes_files = bool(missing) and status in (TaskStatus.WAITING, TaskStatus.KILLED) and not is_stuck
    files = _files_context(shown, request) if takes_files else {}
    return files | {
        "survey": shown,
        "job": Job.objects.with_position().filter(pk=shown.job_id).first(),
        "status": status.value,
        "stages": stages,
        "percent": 100 if status == TaskStatus.DONE else percent_of(stages),
        "stage": current_of(stages),
        "reason": shown.reason(missing) if status in ENDED[1:] else "",
        "is_stuck": is_stuck,
        "cause": cause,
        "is_final": status in ENDED,
    }


def _files_context(shown: Survey, request: HttpRequest) -> dict[str, Any]:
    files = {file.label: file.upload for file in shown.files.select_related("upload")}
    return {
        "files": [
            {
                "label": label,
                "upload": files.get(label.value),
                "address": address_of(files[label.value], request) if label.value in files else "",
            }
            for label in Label
        ],
        "tus_server": settings.TUS_SERVER,
    }


def _results_context(shown: Survey, request: HttpRequest) -> dict[str, Any]:
    results = results_of(shown)
    summary = shown.summary or {}
    downloads = [product for product in results["products"] if product.kind == ProductKind.DOWNLOAD]
    regions = results["regions"]
    preview = preview_of(shown, downloads, regions)
    return {
        "headline": headline_of(summary),
        "facts": facts_of(summary),
        # Not the survey's own: those may have been changed since.
        "parameters_text": json.dumps(summary.get("parameters", {}), indent=2),
        "warnings": summary.get("warnings", []),
        "detectable": summary.get("detectable_volume"),
        "regions": regions,
        "pictures": {region.pk: source_of(region.picture, shown) for region in regions if region.picture is not None},
        "downloads": [
            {
                "product": product,
                "url": signed_url(product.key, product.filename, request),
                "title": title_of(product.name),
            }
            for product in downloads
            if is_for_people(product.name)
        ],
        "preview": preview,
        "preview_text": json.dumps(preview),
    }


# --- Changes


def _start(survey: Survey, request: HttpRequest) -> str:
    intake.start(survey, by=user_of(request))
    return _("Started.")


def _again(survey: Survey, request: HttpRequest) -> str:
    intake.measure_again(survey)
    return _("Measuring again; what was measured before stays until then.")


def _cancel(survey: Survey, request: HttpRequest) -> str:
    if survey.job is None:
        raise Conflict(_("The survey is not under way."))
    survey.job.cancel(by=user_of(request), reason=request.POST.get("reason", ""))
    return _("Cancelled. The files stay; start the survey again whenever you want.")


def _rename(survey: Survey, request: HttpRequest) -> str:
    name = request.POST.get("name", "").strip()
    if len(name) > 200:
        raise Invalid(_("A name has at most 200 characters."))
    survey.name = name
    survey.save(update_fields=["name"])
    return f"/surveys/{survey.task_id}"


def _delete(survey: Survey, request: HttpRequest) -> str:
    name = str(survey)
    intake.discard(survey, by=user_of(request))
    messages.success(request, _("The survey “%(name)s” is deleted with its files.") % {"name": name})
    return "/surveys"


VERBS = {"start": _start, "again": _again, "cancel": _cancel, "rename": _rename, "delete": _delete}


@action
def change(request: HttpRequest, task_id: UUID, verb: str) -> str:
    """Do one of VERBS to a survey that this user may see."""
    if verb not in VERBS:
        raise NotFound(_("A survey cannot %(verb)s.") % {"verb": verb})
    require(request.user, "volcal.delete_survey" if verb == "delete" else "volcal.change_survey")
    return VERBS[verb](_survey(request, task_id), request)

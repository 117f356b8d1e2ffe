"""The page of a new job: what to ask of which pictures, tried on three of them, and what all of it would take."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs import creation
from jobs.models import Job
from jobs.states import ItemStatus
from jobs.steps import TransitionRefused
from orchestrator import roles
from orchestrator.answers import is_htmx, user_of
from orchestrator.problems import Invalid, Problem

from ..capabilities import model_of, refusal_of
from ..gateway.picture import PRESETS
from ..job_form import N_TRIED, JobForm, datasets_of, seconds_an_item
from ..models import Caption, Image, Perspective, Provider
from .providers import ready_providers

_JOBS_TO_WAIT_FOR = 20
_SAMPLES = 8


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Show the form, from an address or like the job `from`; a POST starts the job."""
    user = user_of(request)
    roles.require(user, "jobs.add_job")
    if request.method == "POST":
        form = JobForm.of(request.POST)
        try:
            job = creation.create(form.draft(user).job, by=user)
        except Problem as problem:
            return render(request, "captioning/new_job.html", _context(request, form, problem), status=problem.status)
        return redirect(f"/jobs/{job.job_id}")
    earlier = request.GET.get("from")
    form = JobForm.like(_job(request, earlier)) if earlier else JobForm.of(request.GET)
    return render(request, "captioning/new_job.html", _context(request, form, None))


@login_required
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """Say what the job would be, without making it: items, cost, place, start and time."""
    form, user = JobForm.of(request.POST), user_of(request)
    context: dict[str, Any] = {}
    try:
        drafted = form.draft(user)
        forecast = context["forecast"] = creation.forecast(drafted.job)
        start = forecast.estimated_start_at
        context["waits_seconds"] = start and max(0, round((start - timezone.now()).total_seconds()))
        context["n_images"] = drafted.job.config["nImages"]
        context["cost"] = drafted.estimated_cost_usd
        context["provider"] = drafted.job.config["provider"]
        pace = seconds_an_item(context["provider"])
        context["seconds"] = None if pace is None else pace * forecast.n_items
    except Problem as problem:
        context["problem"] = problem
    if is_htmx(request):
        return render(request, "captioning/_forecast.html", context)
    shown = _context(request, form, context.get("problem")) | context
    return render(request, "captioning/new_job.html", shown)


@login_required
@require_POST
def start_trial(request: HttpRequest) -> HttpResponse:
    """Run the job on three pictures, now and for real; what it says is kept as proposals like any other's."""
    roles.require(request.user, "jobs.add_job")
    form, user = JobForm.of(request.POST), user_of(request)
    try:
        if not form.chosen(user).exists():
            raise Invalid(_("Choose pictures first: there is nothing to try it on."))
        job = creation.create(form.trial(user).job, by=user)
    except Problem as problem:
        if is_htmx(request):
            return render(request, "captioning/_forecast.html", {"problem": problem})
        return render(request, "captioning/new_job.html", _context(request, form, problem), status=problem.status)
    if is_htmx(request):
        return render(request, "captioning/_trial.html", _trial(job))
    return redirect(f"/jobs/{job.job_id}")


@login_required
@require_safe
def trial(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """What a trial has brought so far; whoever started it puts it away by looking once it is over.

    So that trials do not fill the list of jobs.
    """
    job = get_object_or_404(Job.objects.visible_to(request.user).filter(config__isTrial=True), job_id=job_id)
    context = _trial(job)
    if job.user_id == request.user.pk and job.is_final and not job.archived and not context["n_failed"]:
        with suppress(TransitionRefused):  # its worker has yet to close it
            job.archive(by=user_of(request), reason=_("A trial."))
    return render(request, "captioning/_trial.html", context)


def _trial(job: Job) -> dict[str, Any]:
    items = list(job.items.order_by("seq"))
    said = Caption.objects.filter(item__in=[item.pk for item in items]).select_related(
        "image", "perspective", "perspective_version", "author"
    )
    by_item = {caption.item_id: caption for caption in said}
    images = Image.objects.in_bulk([item.payload["image"] for item in items])
    rows: dict[int, list[Any]] = {}
    for item in items:
        rows.setdefault(item.payload["image"], []).append({"item": item, "caption": by_item.get(item.pk)})
    return {
        "job": job,
        "rows": [(images[pk], answers) for pk, answers in rows.items() if pk in images],
        "n_failed": sum(item.status == ItemStatus.FAILED for item in items),
        "is_over": all(
            item.status in (ItemStatus.COMPLETED, ItemStatus.FAILED, ItemStatus.CANCELLED) for item in items
        ),
    }


def _context(request: HttpRequest, form: JobForm, problem: Problem | None) -> dict[str, Any]:
    user = user_of(request)
    ready = ready_providers()
    provider = next((who for who in ready if who.name == form.options.get("provider")), ready[0] if ready else None)
    usable = list(Perspective.objects.usable().order_by("current__priority", "name"))
    rows = [
        {
            "perspective": one,
            "providers": [who for who in ready if refusal_of(who, one) is None],
            "refusal": refusal_of(provider, one) if provider else None,
            "is_chosen": one.name in form.perspectives,
        }
        for one in usable
    ]
    answerable = [row for row in rows if row["refusal"] is None]
    if answerable and not form.perspectives and problem is None:
        answerable[0]["is_chosen"] = True  # the one that most people want first
    n_chosen, samples = form.glance(user, _SAMPLES)
    waitable = Job.objects.visible_to(user).active().order_by("-pk")[:_JOBS_TO_WAIT_FOR]
    return {
        "form": form,
        "problem": problem,
        "datasets": datasets_of(user, form.dataset),
        "n_chosen": n_chosen,
        "samples": samples,
        "provider": provider,
        "providers": ready,
        "models": _models(provider),
        "default_model": model_of(provider) if provider else "",
        "rows": answerable,
        "refused": [row for row in rows if row["refusal"] is not None],
        "sizes": PRESETS,
        "waitable": list(waitable),
        "n_tried": N_TRIED,
    }


def _models(provider: Provider | None) -> list[str]:
    if provider is None or provider.is_local_vision:
        return []
    return list(provider.models.filter(is_enabled=True).order_by("name").values_list("name", flat=True))


def _job(request: HttpRequest, job_id: str) -> Job:
    try:
        wanted = UUID(job_id)
    except ValueError:
        raise Invalid(_("A job is named by its id.")) from None
    job: Job = get_object_or_404(Job.objects.visible_to(user_of(request)), job_id=wanted)
    return job

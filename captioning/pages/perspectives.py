"""Pages of perspectives: the library, one of them with its wordings and uses, and its editor."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobs.models import Job
from jobs.steps import TransitionRefused
from orchestrator import roles
from orchestrator.answers import action, id_from, is_htmx, user_of
from orchestrator.problems import Conflict, Invalid, Problem

from .. import library, perspective_form, sample, vision, word_diff
from ..capabilities import refusal_of
from ..models import Caption, Dataset, Image, Perspective, PerspectiveType, PerspectiveVersion, Provider
from .providers import ready_providers

_VERSIONS_SHOWN = 30
_JOBS_SHOWN = 10
_SAMPLES_OFFERED = 6


@login_required
@require_safe
def perspectives(request: HttpRequest) -> HttpResponse:
    ready = ready_providers()
    rows = [
        {"perspective": one, "providers": [who for who in ready if refusal_of(who, one) is None]}
        for one in Perspective.objects.usable().order_by("current__priority", "name")
    ]
    return render(request, "captioning/perspectives.html", {"perspectives": rows})


@login_required
@require_safe
def perspective(request: HttpRequest, name: str) -> HttpResponse:
    user = user_of(request)
    shown = _perspective(name)
    versions = list(shown.versions.select_related("created_by").order_by("-number")[: _VERSIONS_SHOWN + 1])
    said = Caption.objects.current().filter(perspective=shown)
    if not user.is_staff:
        said = said.visible_to(user)
    jobs = Job.objects.visible_to(user).filter(config__perspectives__contains=[name])
    has_images = Exists(Image.objects.filter(dataset=OuterRef("pk")))
    context = {
        "perspective": shown,
        "version": shown.current,
        "may_change": shown.may_be_changed_by(user) and roles.may(user, "captioning.change_perspective"),
        "providers": [who for who in ready_providers() if refusal_of(who, shown) is None],
        "versions": _with_changes(versions)[:_VERSIONS_SHOWN],
        "uses": list(said.order_by().values_list("review").annotate(n=Count("pk")).order_by("review")),
        "jobs": jobs.order_by("-pk")[:_JOBS_SHOWN],
        "built_upon_by": Perspective.objects.usable().filter(current__builds_on__contains=[name]).order_by("name"),
        "datasets": Dataset.objects.visible_to(user).filter(has_images).order_by("name")[:200],
    }
    return render(request, "captioning/perspective.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, name: str = "") -> HttpResponse:
    """Write the next version of a perspective, or, without a name, a new one; `from` copies another."""
    user = user_of(request)
    roles.require(user, "captioning.change_perspective" if name else "captioning.add_perspective")
    present = _perspective(name) if name else None
    if present is not None and not present.may_be_changed_by(user):
        raise PermissionDenied(_("This perspective is changed by who made it or by staff; copy it instead."))
    context: dict[str, Any] = {
        "perspective": present,
        "kinds": PerspectiveType.values,
        "samples": Image.objects.visible_to(user).only("pk", "path").order_by("-pk")[:_SAMPLES_OFFERED],
        "providers": ready_providers(),
    }
    if request.method == "POST":
        document, errors = perspective_form.read(request.POST)
        try:
            if errors:
                raise Invalid(_("Some members are not JSON."), errors=errors)
            if present is None:
                return redirect(f"/perspectives/{library.create(document, by=user).name}")
            if _is_outdated(present, request):
                context["newer"] = present.current
                raise Conflict(
                    _("Somebody wrote a new version meanwhile. Look at it; saving again puts yours on top of it.")
                )
            if library.write(present, {**document, "name": present.name}, by=user):
                messages.success(request, _("Saved as a new version."))
            else:
                messages.success(request, _("The wording is the same; no new version was made."))
            return redirect(f"/perspectives/{present.name}")
        except Problem as problem:
            context |= {"problem": problem, "typed": request.POST.dict() | {"enabled": "enabled" in request.POST}}
            return render(
                request, "captioning/perspective_edit.html", context | _checked(request), status=problem.status
            )
    copied = request.GET.get("from", "")
    source = present or (_perspective(copied) if copied else None)
    typed = perspective_form.typed_of(library.document_of(source) if source else None)
    if present is None and source is not None:
        typed |= {"name": f"my_{source.name}"[:64]}
    return render(request, "captioning/perspective_edit.html", context | {"typed": typed})


@login_required
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """Say what is wrong with a wording while it is typed, what its answers would look like, and who could give them."""
    return render(request, "captioning/_perspective_check.html", _checked(request))


@login_required
@require_POST
def start_sample(request: HttpRequest) -> HttpResponse:
    """Ask for one answer to what is typed, saved or not, and show it as it comes."""
    roles.require(request.user, "jobs.add_job")
    user = user_of(request)
    document, errors = perspective_form.check(request.POST)
    try:
        if errors:
            raise Invalid(_("Mend what is listed first."), errors=errors)
        image = Image.objects.visible_to(user).filter(pk=id_from(request.POST.get("sample_image"))).first()
        provider = Provider.objects.filter(name=request.POST.get("sample_provider", "")).first()
        if image is None or provider is None:
            raise Invalid(_("Choose a picture, and who shall answer."))
        job = sample.start(document, image, provider, instructions=request.POST.get("sample_instructions", ""), by=user)
    except Problem as problem:
        return render(request, "captioning/_sample.html", {"problem": problem})
    if not is_htmx(request):
        return redirect(f"/jobs/{job.job_id}/items/0")
    return render(request, "captioning/_sample.html", {"job": job, "said": sample.said(job), "is_over": False})


@login_required
@require_safe
def sample_of(request: HttpRequest, job_id: UUID) -> HttpResponse:
    """What a sample run has brought so far; whoever started it puts its job away by looking once it is over."""
    job = get_object_or_404(
        Job.objects.visible_to(request.user).filter(items__payload__has_key="wording"), job_id=job_id
    )
    is_over = job.is_final
    if job.user_id == request.user.pk and is_over and not job.archived:
        with suppress(TransitionRefused):  # somebody was first
            job.archive(by=user_of(request), reason=_("A sample run."))
    context = {"job": job, "said": sample.said(job), "is_over": is_over}
    return render(request, "captioning/_sample.html", context)


@action
def restore(request: HttpRequest, name: str) -> str:
    """Make an older wording the current one again, as a new version."""
    roles.require(request.user, "captioning.change_perspective")
    shown = _perspective(name)
    number = request.POST.get("number", "")
    version = get_object_or_404(shown.versions, number=int(number) if number.isdecimal() and len(number) < 10 else 0)
    document = {**library.wording_of(version), "module": shown.module, "enabled": shown.enabled}
    if not library.write(shown, document, by=user_of(request)):
        return _("This wording is the current one.")
    return _("The wording of version %(n)s is current again.") % {"n": version.number}


def _perspective(name: str) -> Perspective:
    return get_object_or_404(Perspective.objects.select_related("current"), name=name, current__isnull=False)


def _is_outdated(present: Perspective, request: HttpRequest) -> bool:
    return present.current is not None and request.POST.get("number", "") not in ("", str(present.current.number))


def _checked(request: HttpRequest) -> dict[str, Any]:
    document, errors = perspective_form.check(request.POST)
    wanted = document.get("builds_on") or []
    known = set(Perspective.objects.filter(name__in=wanted, current__isnull=False).values_list("name", flat=True))
    if unknown := [name for name in wanted if name not in known]:
        errors["builds_on"] = [f"There is no perspective {name!r}." for name in unknown]
    fields = document.get("schema_fields")
    is_sound = not any(path.startswith("schema_fields") for path in errors)
    local = vision.supports(document) if is_sound and "local_vision" not in errors else None
    return {
        "errors": errors,
        "fields": fields if is_sound else [],
        "json_schema": perspective_form.json_schema(document) if is_sound else "",
        "local": local,
    }


def _with_changes(versions: list[PerspectiveVersion]) -> list[dict[str, Any]]:
    """Each version with what it changed in the one before; the last of the list only serves its successor."""
    rows = []
    for version, older in pairwise([*versions, None]):
        if version is None:
            continue
        changed = [] if older is None else _changes(older, version)
        rows.append({"version": version, "changes": changed, "is_first": older is None})
    return rows


def _changes(older: PerspectiveVersion, version: PerspectiveVersion) -> list[dict[str, Any]]:
    before, after = library.wording_of(older), library.wording_of(version)
    return [
        {
            "member": member,
            "is_text": isinstance(after[member], str) and isinstance(before[member], str),
            "parts": word_diff.between(before[member], after[member])
            if isinstance(after[member], str) and isinstance(before[member], str)
            else word_diff.between_documents({member: before[member]}, {member: after[member]}),
        }
        for member in after
        if before[member] != after[member]
    ]

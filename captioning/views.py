"""The pages of data sets, images, perspectives and providers."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from jobs.creation import create
from jobs.states import JobType
from orchestrator.answers import action, user_of
from orchestrator.problems import Invalid

from . import batch
from .capabilities import answerable, refusal_of, unreadiness_of
from .intake import intake
from .models import Dataset, Image, Perspective, Provider
from .pictures import PictureRefused

DEMO = "demo"
IMAGES_A_PAGE = 60
CAPTIONS_A_PAGE = 200


# --- Data sets


@login_required
@require_safe
def datasets(request: HttpRequest) -> HttpResponse:
    shown = Dataset.objects.visible_to(request.user).select_related("owner").with_counts().order_by("name")
    search = request.GET.get("dataset", "").strip()
    if search:
        shown = shown.filter(name__icontains=search)
    page = Paginator(shown, IMAGES_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "captioning/datasets.html", {"page": page, "dataset_search": search})


@action
def create_dataset(request: HttpRequest) -> str:
    dataset = Dataset(
        name=request.POST.get("name", "").strip(),
        description=request.POST.get("description", "").strip(),
        owner=user_of(request),
    )
    try:
        dataset.full_clean(validate_unique=False, validate_constraints=False)
        with transaction.atomic():
            dataset.save(force_insert=True)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages)) from None
    except IntegrityError:
        raise Invalid(f"There is already a data set “{dataset.name}”; choose another name.") from None
    return f"/datasets/{dataset.name}"


@login_required
@require_safe
def dataset(request: HttpRequest, name: str) -> HttpResponse:
    shown = _dataset(request, name)
    page = Paginator(shown.images.with_counts().order_by("pk"), IMAGES_A_PAGE).get_page(request.GET.get("page"))
    context = {"dataset": shown, "page": page, **_choices(request.GET.get("provider"))}
    return render(request, "captioning/dataset.html", context)


@action
def delete_dataset(request: HttpRequest, name: str) -> str:
    _dataset(request, name).delete()
    messages.success(request, f"The data set “{name}” is deleted.")
    return "/datasets"


@action
def upload(request: HttpRequest, name: str) -> str:
    """Take every uploaded file into the data set; one that is no picture is refused by name, the others stay."""
    dataset = _dataset(request, name)
    files = request.FILES.getlist("images")
    if not files:
        raise Invalid("Choose at least one picture to upload.")
    n_created = n_present = 0
    for file in files:
        try:
            taken = intake(dataset, file.name or "picture", cast(BinaryIO, file.file))
        except PictureRefused as refused:
            messages.error(request, f"{file.name}: {refused.detail}")
            continue
        n_created += taken.created
        n_present += not taken.created
    if not n_created + n_present:
        return ""
    present = f"; {n_present} were here already" if n_present else ""
    return f"{n_created} picture{'s' * (n_created != 1)} added{present}."


@action
def caption_dataset(request: HttpRequest, name: str) -> str:
    """Queue a job over the whole data set and go to its page, where the captions appear."""
    options: dict[str, Any] = {"only_missing": "only_missing" in request.POST}
    if provider := request.POST.get("provider"):
        options["provider"] = provider
    body: dict[str, Any] = {
        "type": JobType.DATASET_PERSPECTIVE,
        "dataset": _dataset(request, name).name,
        "perspectives": request.POST.getlist("perspectives"),
        "options": options,
        "name": request.POST.get("name", "").strip(),
    }
    user = user_of(request)
    return f"/jobs/{create(batch.draft(body, user).job, by=user).job_id}"


def _dataset(request: HttpRequest, name: str) -> Dataset:
    return get_object_or_404(Dataset.objects.visible_to(request.user).with_counts(), name=name)


# --- Images


@login_required
@require_safe
def image(request: HttpRequest, image_id: int) -> HttpResponse:
    shown = _image(request, image_id)
    captions = (
        shown.captions.current()
        .select_related("perspective", "perspective_version", "author")
        .order_by("perspective_version__priority", "perspective__name", "-pk")[:CAPTIONS_A_PAGE]
    )
    siblings = Image.objects.filter(dataset=shown.dataset)
    context = {
        "image": shown,
        "captions": list(captions),
        "before": siblings.filter(pk__lt=shown.pk).order_by("-pk").first(),
        "behind": siblings.filter(pk__gt=shown.pk).order_by("pk").first(),
    }
    return render(request, "captioning/image.html", context)


@action
def delete_image(request: HttpRequest, image_id: int) -> str:
    shown = _image(request, image_id)
    Image.objects.filter(pk=shown.pk).delete()
    messages.success(request, f"“{shown.path}” is deleted from the data set.")
    return f"/datasets/{shown.dataset.name}"


def _image(request: HttpRequest, image_id: int) -> Image:
    return get_object_or_404(Image.objects.visible_to(request.user).select_related("dataset"), pk=image_id)


# --- Perspectives and providers


@login_required
@require_safe
def perspectives(request: HttpRequest) -> HttpResponse:
    ready = _ready_providers()
    rows = [
        {"perspective": one, "providers": [who for who in ready if refusal_of(who, one) is None]}
        for one in Perspective.objects.usable().order_by("current__priority", "name")
    ]
    return render(request, "captioning/perspectives.html", {"perspectives": rows})


@login_required
@require_safe
def perspective(request: HttpRequest, name: str) -> HttpResponse:
    shown = get_object_or_404(Perspective.objects.select_related("current"), name=name, current__isnull=False)
    context = {
        "perspective": shown,
        "version": shown.current,
        "providers": [who for who in _ready_providers() if refusal_of(who, shown) is None],
    }
    return render(request, "captioning/perspective.html", context)


@login_required
@require_safe
def providers(request: HttpRequest) -> HttpResponse:
    usable = list(Perspective.objects.usable().order_by("current__priority", "name"))
    rows = [
        {
            "provider": who,
            "lacks": unreadiness_of(who, ""),
            "answerable": [one for one in usable if refusal_of(who, one) is None],
        }
        for who in Provider.objects.in_order_of_choice()
    ]
    return render(request, "captioning/providers.html", {"providers": rows, "n_perspectives": len(usable)})


def _ready_providers() -> list[Provider]:
    """Those that could be asked now, in the order in which a job without a provider tries them."""
    return [who for who in Provider.objects.enabled().in_order_of_choice() if unreadiness_of(who, "") is None]


def _choices(provider_name: str | None) -> dict[str, Any]:
    """What the form of a new job offers: the chosen provider, what it answers, and why not the rest."""
    ready = _ready_providers()
    chosen = next((who for who in ready if who.name == provider_name), ready[0] if ready else None)
    if chosen is None:
        return {"provider": None}
    judged = [
        (one, refusal_of(chosen, one)) for one in Perspective.objects.usable().order_by("current__priority", "name")
    ]
    return {
        "provider": chosen,
        "providers": ready,
        "answerable": [one for one, reason in judged if reason is None],
        "refused": [(one, reason) for one, reason in judged if reason is not None],
    }


def demo_of(user: Any) -> dict[str, Any]:
    """What the home page of a fresh desk shows: the demo pictures, and who can caption them how, without a key."""
    dataset = Dataset.objects.visible_to(user).filter(name=DEMO).first()
    local = next((who for who in _ready_providers() if who.is_local_vision), None)
    usable = Perspective.objects.usable().order_by("current__priority", "name")
    perspectives = answerable(local, usable) if dataset and local else []
    if dataset is None or not perspectives:
        return {"demo": None}
    return {
        "demo": dataset,
        "demo_images": list(dataset.images.order_by("pk")[:8]),
        "demo_provider": local,
        "demo_perspectives": perspectives,
    }

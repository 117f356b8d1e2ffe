"""The page of one picture."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from orchestrator import roles
from orchestrator.answers import action, user_of

from .. import looks, trash
from ..models import Image

CAPTIONS_A_PAGE = 200
_LOOKALIKES_SHOWN = 12


@login_required
@require_safe
def image(request: HttpRequest, image_id: int) -> HttpResponse:
    shown = image_of(request, image_id)
    captions = (
        shown.captions.current()
        .select_related("perspective", "perspective_version", "author", "reviewed_by")
        .order_by("perspective_version__priority", "perspective__name", "-pk")[:CAPTIONS_A_PAGE]
    )
    siblings = Image.objects.filter(dataset=shown.dataset).only("pk")
    context = {
        "image": shown,
        "captions": list(captions),
        "before": siblings.filter(pk__lt=shown.pk).order_by("-pk").first(),
        "behind": siblings.filter(pk__gt=shown.pk).order_by("pk").first(),
        "lookalikes": _lookalikes(request, shown),
    }
    return render(request, "captioning/image.html", context)


@action
def delete_image(request: HttpRequest, image_id: int) -> str:
    roles.require(request.user, "captioning.delete_image")
    shown = image_of(request, image_id)
    trash.throw_away(Image.objects.filter(pk=shown.pk), shown.dataset, by=user_of(request))
    return f"/datasets/{shown.dataset.name}"


def image_of(request: HttpRequest, image_id: int) -> Image:
    return get_object_or_404(Image.objects.visible_to(request.user).select_related("dataset"), pk=image_id)


def _lookalikes(request: HttpRequest, image: Image) -> list[tuple[Image, int]]:
    """Other pictures of its group, with the number of bits in which they differ; 0 for the same bytes."""
    if image.look_group is None:
        return []
    others = (
        Image.objects.visible_to(request.user).filter(look_group=image.look_group).exclude(pk=image.pk)
    ).select_related("dataset")[:_LOOKALIKES_SHOWN]
    found = [
        (other, looks.distance(image.look, other.look) if image.look is not None and other.look is not None else 0)
        for other in others
    ]
    return sorted(found, key=lambda one: one[1])

"""Pages of perspectives: the library, one of them, its wordings."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from ..capabilities import refusal_of
from ..models import Perspective
from .providers import ready_providers


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
    shown = get_object_or_404(Perspective.objects.select_related("current"), name=name, current__isnull=False)
    context = {
        "perspective": shown,
        "version": shown.current,
        "providers": [who for who in ready_providers() if refusal_of(who, shown) is None],
    }
    return render(request, "captioning/perspective.html", context)

"""The page of those who answer."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from ..capabilities import refusal_of, unreadiness_of
from ..models import Perspective, Provider


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


def ready_providers() -> list[Provider]:
    """Those that could be asked now, in the order in which a job without a provider tries them."""
    return [who for who in Provider.objects.enabled().in_order_of_choice() if unreadiness_of(who, "") is None]

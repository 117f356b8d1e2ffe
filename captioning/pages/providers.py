"""The page of those who answer: what they lack, what a probe found, their limits, and what they cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Avg, Count, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from orchestrator import roles
from orchestrator.answers import action, staff_only
from orchestrator.problems import Conflict, Invalid

from .. import probing, provider_forms
from ..capabilities import refusal_of, unreadiness_of
from ..models import ModelCall, Perspective, Provider

_SPENT_DAYS = 30


@login_required
@require_safe
def providers(request: HttpRequest) -> HttpResponse:
    usable = list(Perspective.objects.usable().order_by("current__priority", "name"))
    spent = _spent()
    rows = [
        {
            "provider": who,
            "lacks": unreadiness_of(who, ""),
            "answerable": [one for one in usable if refusal_of(who, one) is None],
            "probe": _steps_of(who),
            "spent": spent.get(who.pk),
        }
        for who in Provider.objects.in_order_of_choice()
    ]
    may_change = request.user.is_staff and roles.may(request.user, "captioning.change_provider")
    context = {"may_change": may_change, "providers": rows, "n_perspectives": len(usable), "days": _SPENT_DAYS}
    return render(request, "captioning/providers.html", context)


@action
def test(request: HttpRequest, provider_id: int) -> str:
    """Try a provider out, step by step."""
    staff_only(request, "captioning.change_provider")
    provider = get_object_or_404(Provider, pk=provider_id)
    found = probing.probe(provider)
    if not found["success"]:
        raise Conflict(f"{provider.name}: {found['message']}")
    return f"{provider.name}: {found['message']}"


@action
def limit(request: HttpRequest, provider_id: int) -> str:
    """Set how many requests and tokens a minute a provider may be asked for; nothing means no limit."""
    staff_only(request, "captioning.change_provider")
    provider = get_object_or_404(Provider, pk=provider_id)
    limits = {
        member: int(text) if text.isdecimal() and len(text) < 12 else (text or None)
        for member in ("requestsPerMinute", "tokensPerMinute")
        for text in [request.POST.get(member, "").strip()]
    }
    try:
        provider_forms.change(provider, {"rateLimits": limits})
    except Invalid as refusal:
        raise Invalid(" ".join(said for errors in (refusal.errors or {}).values() for said in errors)) from None
    return _("The limits of %(name)s are set; calls heed them from now on.") % {"name": provider.name}


def ready_providers() -> list[Provider]:
    """Those that could be asked now, in the order in which a job without a provider tries them."""
    return [who for who in Provider.objects.enabled().in_order_of_choice() if unreadiness_of(who, "") is None]


def _spent() -> dict[int, dict[str, Any]]:
    """Add up the calls of the last days by provider; a cost of None means that no call of it has a known price."""
    now = timezone.now()
    today = Q(created_at__gte=now - timedelta(days=1))
    rows = (
        ModelCall.objects.filter(created_at__gte=now - timedelta(days=_SPENT_DAYS), provider__isnull=False)
        .order_by()
        .values("provider")
        .annotate(
            n_calls=Count("pk"),
            n_failed=Count("pk", filter=~Q(error_code="")),
            n_unpriced=Count("pk", filter=Q(cost_usd=None, error_code="")),
            cost=Sum("cost_usd"),
            cost_today=Sum("cost_usd", filter=today),
            n_today=Count("pk", filter=today),
            tokens_in=Sum("tokens_in"),
            tokens_out=Sum("tokens_out"),
            latency_ms=Avg("latency_ms"),
        )
    )
    return {row["provider"]: {**row, "latency_ms": round(row["latency_ms"])} for row in rows}


def _steps_of(provider: Provider) -> dict[str, Any] | None:
    """What the last probe found, as the page shows it."""
    found = provider.last_probe
    if not found:
        return None
    diagnostics = found.get("diagnostics", {})
    return {
        "success": found.get("success"),
        "message": found.get("message", ""),
        "error": found.get("error", ""),
        "suggestions": found.get("suggestions", []),
        "steps": diagnostics.get("connection_steps", []),
        "warnings": [warning.get("message", "") for warning in diagnostics.get("warnings", [])],
        "details": found.get("details", {}),
    }

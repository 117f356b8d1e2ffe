"""The books: what every call to a provider brought and cost, and what that says about the calls to come."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from django.db.models import Count, Sum

from .gateway import Attempt
from .models import ModelCall, Provider

_LONGEST_MEMORY = 500  # calls; older ones tell of older prompts and prices


def record(
    provider: Provider,
    model: str,
    attempts: Sequence[Attempt],
    *,
    job_id: int | None = None,
    item_id: int | None = None,
) -> None:
    """Write one row for each HTTP call.

    Outside the transaction that settles the item: the money is spent, whatever becomes of the item.
    """
    ModelCall.objects.bulk_create(
        ModelCall(
            provider=provider,
            model=model,
            job_id=job_id,
            item_id=item_id,
            status_code=attempt.status,
            latency_ms=attempt.latency_ms,
            provider_request_id=attempt.request_id or "",
            tokens_in=attempt.usage.input_tokens,
            tokens_out=attempt.usage.output_tokens,
            tokens_cached=attempt.usage.cached_tokens,
            cost_usd=attempt.cost_usd,
            mode=attempt.mode,
            repaired=attempt.repaired,
            error_code=attempt.error_class or "",
            unusable=attempt.unusable,
        )
        for attempt in attempts
    )


def expected_cost_usd(provider: Provider, model: str, n_items: int) -> Decimal | None:
    """Estimate what captions will cost from the latest calls of this provider and model.

    Per item and not per call, so that repair turns and retries are in the price. None where nothing is known.
    Local vision costs nothing.
    """
    if provider.is_local_vision:
        return Decimal(0)
    recent = ModelCall.objects.filter(provider=provider, model=model, item__isnull=False, cost_usd__isnull=False)
    latest = recent.order_by("-created_at")[:_LONGEST_MEMORY]
    sums = ModelCall.objects.filter(pk__in=latest.values("pk")).aggregate(
        total=Sum("cost_usd"), n_items=Count("item", distinct=True)
    )
    if sums["total"] is None:
        return None
    total: Decimal = sums["total"]
    estimate: Decimal = (total / sums["n_items"] * n_items).quantize(Decimal("0.00000001"))
    return estimate

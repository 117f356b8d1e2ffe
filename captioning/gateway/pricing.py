"""What a call cost."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from captioning.gateway.request import Attempt, Endpoint, Price, Usage

_MILLION = Decimal(1_000_000)


def cost_usd(endpoint: Endpoint, model: str, usage: Usage) -> Decimal | None:
    """Return the price of one answered call in US dollars, None where it is unknown.

    The endpoint's own price comes first, then the public list by address. The list is never asked by model name alone:
    a local server may serve anything under a famous name.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    if endpoint.price is not None:
        return _own_price(endpoint.price, usage)
    # Reading the list takes a quarter of a second, which every process of the desk would spend at its start.
    from genai_prices import Usage as ListedUsage
    from genai_prices import calc_price

    listed = ListedUsage(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=usage.cached_tokens
    )
    try:
        return calc_price(listed, model, provider_api_url=endpoint.base_url.strip()).total_price
    except (LookupError, ValueError):
        # ValueError: counts that contradict each other, such as more cached tokens than input tokens.
        return None


def total_usd(attempts: Iterable[Attempt]) -> Decimal | None:
    """Add up all answered attempts; one unknown makes the sum unknown."""
    costs = [attempt.cost_usd for attempt in attempts if attempt.status is not None and attempt.status < 300]
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if costs and len(known) == len(costs) else None


def _own_price(price: Price, usage: Usage) -> Decimal:
    cached = min(usage.cached_tokens or 0, usage.input_tokens or 0)
    cached_rate = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
    fresh = (usage.input_tokens or 0) - cached
    return (fresh * price.input_usd + cached * cached_rate + (usage.output_tokens or 0) * price.output_usd) / _MILLION

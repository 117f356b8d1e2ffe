from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime

import pytest

from captioning.gateway.pricing import cost_usd, total_usd
from captioning.gateway.request import Attempt, Endpoint, Mode, Price, Usage
from captioning.gateway.retry import Patience, retry_after_seconds

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OPENAI = Endpoint("https://api.openai.com/v1")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "60"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "60"}, 60.0),
        ({"retry-after": format_datetime(NOW.replace(minute=1), usegmt=True)}, 60.0),
        ({"retry-after": format_datetime(NOW.replace(hour=11), usegmt=True)}, 0.0),
        ({"retry-after": "later"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, 86_400.0),
        ({"retry-after-ms": "1e300"}, 86_400.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400.0),
    ],
)
def test_every_form_of_retry_after_is_read(headers, seconds):
    assert retry_after_seconds(headers, now=NOW.timestamp()) == seconds


@pytest.mark.parametrize(("n_failures", "ceiling"), [(1, 0.5), (2, 1.0), (5, 8.0), (8, 60.0), (5000, 60.0)])
def test_the_backoff_is_drawn_from_a_doubling_range(n_failures, ceiling):
    waits = [Patience().backoff_seconds(n_failures) for _ in range(300)]

    assert 0.0 <= min(waits) < ceiling * 0.2
    assert ceiling * 0.8 < max(waits) <= ceiling


def test_listed_prices_are_used_for_the_provider_s_own_address():
    assert cost_usd(OPENAI, "gpt-4o-mini", Usage(1000, 300)) == Decimal("0.00033")
    cached = cost_usd(OPENAI, "gpt-4o-mini", Usage(1000, 300, 500))
    assert cached is not None
    assert cached < Decimal("0.00033")


@pytest.mark.parametrize(
    ("endpoint", "model", "usage"),
    [
        (OPENAI, "no-such-model", Usage(1000, 300)),
        (Endpoint("http://localhost:11434/v1"), "gpt-4o-mini", Usage(1000, 300)),
        (OPENAI, "gpt-4o-mini", Usage()),
        (OPENAI, "gpt-4o-mini", Usage(10, 5, 50)),
    ],
)
def test_what_is_not_known_costs_none_and_never_nothing(endpoint, model, usage):
    assert cost_usd(endpoint, model, usage) is None


def test_an_own_price_counts_cached_tokens_apart():
    price = Price(Decimal(2), Decimal(10), cached_input_usd=Decimal(1))
    endpoint = Endpoint("http://localhost/v1", price=price)

    assert cost_usd(endpoint, "any", Usage(1000, 100, 400)) == Decimal("0.0026")


def test_one_unknown_cost_makes_the_sum_unknown():
    known = Attempt(Mode.NATIVE, status=200, cost_usd=Decimal("0.1"))
    unknown = Attempt(Mode.NATIVE, status=200)
    refused = Attempt(Mode.NATIVE, status=429)

    assert total_usd([known, refused, known]) == Decimal("0.2")
    assert total_usd([known, unknown]) is None
    assert total_usd([refused]) is None


@pytest.mark.parametrize(
    ("kind", "base", "address"),
    [
        ("openai", "https://api.openai.com/v1/", "https://api.openai.com/v1/models"),
        ("openai", "https://desk.example/gpt", "https://desk.example/gpt/models"),
        ("vllm", "http://gpu:8000", "http://gpu:8000/v1/models"),
        ("ollama", "http://gpu:11434/v1", "http://gpu:11434/v1/models"),
        ("openrouter", "https://openrouter.ai/api", "https://openrouter.ai/api/v1/models"),
        ("gemini", "https://g.example/v1beta", "https://g.example/v1beta/openai/models"),
        ("gemini", "https://g.example/v1beta/openai", "https://g.example/v1beta/openai/models"),
    ],
)
def test_each_kind_finds_its_routes(kind, base, address):
    assert Endpoint(base, kind=kind).address("models") == address

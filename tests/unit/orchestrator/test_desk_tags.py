"""How pages write durations, times and amounts"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from orchestrator.templatetags import desk


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.8, "800 ms"), (12, "12 s"), (62, "1m02"), (3 * 3600 + 300, "3h05"), (3 * 86400, "3 d"), (None, "")],
)
def test_a_duration_is_short(seconds, words):
    assert desk.duration(seconds) == words


def test_a_time_says_how_long_ago_and_exactly_when_on_hover(monkeypatch):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)

    written = desk.ago(now - timedelta(minutes=5))

    assert ">5 min ago<" in written
    assert 'title="1 Mar 2026, 11:55:00 UTC"' in written
    assert desk.ago(None) == "never"


@pytest.mark.parametrize(
    ("amount", "words"),
    [(None, ""), (Decimal(0), "$0.00"), (Decimal("0.00042"), "$0.00042"), (Decimal("3.5"), "$3.50")],
)
def test_an_unknown_cost_is_nothing_and_a_small_one_is_not_zero(amount, words):
    assert desk.usd(amount) == words


def test_a_state_has_a_word_a_shape_and_a_colour():
    written = desk.state("running", paused=True)

    assert "state-paused" in written
    assert "icons.svg#state-paused" in written
    assert written.endswith("paused</span>")


def test_words_of_users_are_escaped():
    assert "<b>" not in desk.state("<b>")

"""How long an item waits before its next attempt."""

import random

BASE_SECONDS = 5.0
LONGEST_SECONDS = 300.0
OUTAGE_SECONDS = 5.0


def seconds_after(attempts: int, asked_seconds: float | None = None) -> float:
    """Wait 5 s, doubled after each attempt up to 300 s, +-20 % so that items do not come back together.

    attempts: made so far, at least 1. asked_seconds: what the other side asked for (Retry-After); never undercut.
    """
    own = min(LONGEST_SECONDS, BASE_SECONDS * 2 ** (attempts - 1)) * random.uniform(0.8, 1.2)  # noqa: S311  spreads load, guards nothing
    return own if asked_seconds is None else max(asked_seconds, BASE_SECONDS * 0.2)

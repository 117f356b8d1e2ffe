"""When to try again inside one call, and after how long."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

# What a server asks for beyond that is no plan but a slip, and some of it more than a clock can hold.
LONGEST_ASKED_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How much one call does by itself before it hands the item back to the queue, which waits without holding a lane.

    extra_tries: on top of the first, shared by all turns of the call.
    longest_wait_seconds: a longer wait is the queue's.
    first_seconds, most_seconds: bounds of the jittered exponential backoff where the server names no time.
    """

    extra_tries: int = 2
    longest_wait_seconds: float = 10.0
    first_seconds: float = 0.5
    most_seconds: float = 60.0

    def backoff_seconds(self, n_failures: int) -> float:
        """Draw a wait between 0 and a ceiling that doubles with each failure.

        Full jitter: many workers that failed together do not come back together.
        """
        ceiling = min(self.most_seconds, self.first_seconds * 2 ** min(n_failures - 1, 30))
        return random.uniform(0.0, ceiling)  # noqa: S311  # spreads load, guards nothing


def retry_after_seconds(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """Read how long the server asks us to wait, a day at most; None where it says nothing we understand.

    `retry-after-ms` comes first since it is finer; `retry-after` is a number of seconds or an HTTP date.
    now: seconds since the epoch, against which a date is held.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000.0, LONGEST_ASKED_SECONDS)
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return min(seconds, LONGEST_ASKED_SECONDS)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
    except (ValueError, OverflowError):  # no date, or one before there were clocks
        return None
    return min(max(0.0, seconds), LONGEST_ASKED_SECONDS)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None

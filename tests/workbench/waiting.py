"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], *, seconds: float = 90.0, what: str = "the condition") -> Any:
    """Ask again and again until the answer is no empty one, and return it; who waits longer is broken."""
    ends_at = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < ends_at, f"Waited {seconds} s in vain for {what}."
        time.sleep(0.05)  # between two looks; nothing counts on its length
    return found

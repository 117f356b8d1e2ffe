"""Standing tasks: what some worker does every few minutes, as long as the desk lives."""

from __future__ import annotations

from typing import Any


def every(minutes: int, func: str, *, name: str, using: str, apps: Any, **fields: Any) -> None:
    """Make the schedule unless it is there. Called after migrate rather than in a migration, so that it comes back
    after a flush. fields: further columns of it, such as its cluster."""
    apps.get_model("django_q", "Schedule").objects.using(using).get_or_create(
        name=name, defaults={"func": func, "schedule_type": "I", "minutes": minutes, "repeats": -1, **fields}
    )

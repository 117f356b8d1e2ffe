"""Jobs, items and events as clients see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypedDict

from .models import JobEvent


class EventEnvelope(TypedDict):
    messageId: str
    sequence: int | None
    type: str
    jobId: str | None
    timestamp: str
    data: dict[str, Any]


def event_envelope(event: JobEvent) -> EventEnvelope:
    """Wrap an event for sockets, pollers and the message broker alike. Reads `event.job`: select it with the event."""
    return {
        "messageId": str(event.message_id),
        "sequence": event.sequence,
        "type": event.type,
        "jobId": str(event.job.job_id) if event.job is not None else None,
        "timestamp": iso(event.created_at),
        "data": event.data,
    }


def iso(moment: datetime) -> str:
    """Write a time in UTC as 2026-01-31T12:00:00.000000Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Writing changes down as events, in the transaction that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import transaction

from orchestrator import requestids

from .states import EventType

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from .models import Job


def record(
    event_type: EventType, *, job: Job | None = None, data: Mapping[str, Any] | None = None, by: User | None = None
) -> None:
    """Write one event of a job, or of the queue itself, and publish it once the transaction has committed."""
    from .models import JobEvent  # the models' own verbs call this

    job_id = job.pk if job is not None else None
    JobEvent.objects.create(
        job_id=job_id, type=event_type, data=dict(data or {}), user=by, request_id=requestids.current()
    )
    transaction.on_commit(lambda: _publish(job_id))


def _publish(job_id: int | None) -> None:
    from .outbox import publish_later

    publish_later(job_id)

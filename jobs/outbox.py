"""From rows that say what changed to numbered messages that everybody sees in one order.

A change writes its event in its own transaction, without a number. Publication comes after: one publisher a stream, at
most every PUBLISH_INTERVAL_SECONDS. How and why: docs/explanation/live.md.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce, Now

from . import sql, tallies
from .models import BrokerDelivery, EventStream, Job, JobEvent, JobItem, Lane
from .states import EventType, ItemStatus

logger = logging.getLogger(__name__)

CHANNEL = "desk"
PUBLISH_INTERVAL_SECONDS = 0.25
LARGEST_LIST = 500  # items that one message describes; beyond, it only counts them
LONGEST_ERROR = 500  # characters of an item's error in a message; the item itself has all of it
_LARGEST_BATCH = 5000  # rows that one publication reads; what is left waits for the next
_ITEM_STATUS = {EventType.JOB_ITEM_COMPLETED: ItemStatus.COMPLETED, EventType.JOB_ITEM_FAILED: ItemStatus.FAILED}

# When this process last tried, by stream: a worker that commits a thousand times a second asks four times.
_tried_at: dict[int | None, float] = {}


def publish_later(job_pk: int | None) -> None:
    """Publish soon after a commit. Never raises, since what the caller did is done; the relay makes up for it."""
    now = time.monotonic()
    if now - _tried_at.get(job_pk, float("-inf")) < PUBLISH_INTERVAL_SECONDS:
        return
    if len(_tried_at) > 1000:
        _tried_at.clear()
    _tried_at[job_pk] = now
    try:
        publish(job_pk)
    except Exception:
        logger.exception("publication failed; the relay repeats it", extra={"job_pk": job_pk})
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def publish(job_pk: int | None, *, force: bool = False) -> int:
    """Number what is unpublished in one stream and wake the listeners, in a transaction of its own.

    job_pk: the job's primary key; None is the stream of the queue.
    force: also when the last publication is younger than PUBLISH_INTERVAL_SECONDS.
    Returns how many events were numbered; 0 also where somebody else is publishing this stream.
    """
    streams = EventStream.objects.filter(job=job_pk)
    ready = Q() if force else Q(published_at=None) | Q(published_at__lte=Now() - _interval())
    # Asked without a lock first: most calls end here.
    if not JobEvent.objects.filter(job=job_pk, sequence=None).exists():
        return 0
    if not streams.filter(ready).exists():
        if streams.exists():
            return 0
        EventStream.objects.bulk_create([EventStream(job_id=job_pk)], ignore_conflicts=True)
    with transaction.atomic(durable=True):
        stream = streams.filter(ready).select_for_update(skip_locked=True, no_key=True).first()
        return _publish(stream) if stream is not None else 0


def pending_streams() -> list[tuple[int | None, float]]:
    """List the streams that have something unpublished, with the seconds until each may be published."""
    return sql.rows("pending_streams", {"interval": PUBLISH_INTERVAL_SECONDS})


def envelope(event: JobEvent) -> dict[str, Any]:
    """Write a numbered event as sockets, pollers and the message broker see it. Reads `event.job`."""
    return {
        "messageId": str(event.message_id),
        "sequence": event.sequence,
        "type": event.type,
        "jobId": str(event.job.job_id) if event.job is not None else None,
        "timestamp": event.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "data": event.data,
    }


def _interval() -> timedelta:
    return timedelta(seconds=PUBLISH_INTERVAL_SECONDS)


def _publish(stream: EventStream) -> int:
    """Number the events of a stream whose row is locked."""
    raw = list(JobEvent.objects.filter(job=stream.job_id, sequence=None).order_by("id")[:_LARGEST_BATCH])
    if not raw:
        return 0
    # A report of a running item says only that there is news; what it is, is read for all of them at once.
    reports = [event for event in raw if event.type == EventType.JOB_PROGRESS]
    events, merged = _merge([event for event in raw if event.type != EventType.JOB_PROGRESS])
    merged += [report.pk for report in reports]
    counted = [i for i, event in enumerate(events) if event.type in _ITEM_STATUS]
    counted += [i for i, event in enumerate(events) if reports and event.pk < reports[-1].pk]
    if counted or reports:
        _describe_items(events)
        _tally(stream.job_id, events)
        # Behind the items it counts, before a transition that they led to.
        events.insert(max(counted, default=-1) + 1, _progress(stream.job_id, request_id=raw[-1].request_id))
    first = stream.sequence + 1
    for sequence, event in enumerate(events, start=first):
        event.sequence = sequence
    JobEvent.objects.filter(pk__in=merged).delete()
    JobEvent.objects.bulk_update([event for event in events if event.pk], ["sequence", "data"])
    JobEvent.objects.bulk_create([event for event in events if not event.pk])
    stream.sequence = first + len(events) - 1
    stream.published_at = Now()
    stream.save(update_fields=["sequence", "published_at"])
    if settings.MESSAGE_BROKER_URL:
        _call_broker(stream, first)
    _notify(stream, first)
    return len(events)


def _merge(raw: Sequence[JobEvent]) -> tuple[list[JobEvent], list[int]]:
    """Put the item events that lie between two transitions together, one message an outcome.

    Returns the events that stay, in order, and the primary keys of those that went into another.
    """
    kept: list[JobEvent] = []
    merged: list[int] = []
    run: dict[str, JobEvent] = {}
    for event in raw:
        if event.type not in _ITEM_STATUS:
            run = {}
            kept.append(event)
        elif event.type in run:
            run[event.type].data["items"] += event.data["items"]
            merged.append(event.pk)
        else:
            run[event.type] = event
            kept.append(event)
    return kept, merged


def _describe_items(events: Sequence[JobEvent]) -> None:
    """Turn `[item id, seq, milliseconds, error code]`, as STEP writes it, into what clients read."""
    of_items = [event for event in events if event.type in _ITEM_STATUS]
    listed = {event.pk: event.data["items"][:LARGEST_LIST] for event in of_items}
    ids = [entry[0] for entries in listed.values() for entry in entries]
    items = JobItem.objects.only("image_path", "perspective", "error").in_bulk(ids)
    for event in of_items:
        n_items = len(event.data["items"])
        event.data = {
            "count": n_items,
            "truncated": n_items > LARGEST_LIST,
            "items": [
                {
                    "itemId": item_id,
                    "imagePath": items[item_id].image_path,
                    "perspective": items[item_id].perspective,
                    "status": _ITEM_STATUS[EventType(event.type)].value,
                    "error": (items[item_id].error or "")[:LONGEST_ERROR] or None,
                    "errorCode": error_code,
                    "processingTime": processing_time,
                }
                for item_id, _seq, processing_time, error_code in listed[event.pk]
                if item_id in items
            ],
        }


def _tally(job_pk: int | None, events: Sequence[JobEvent]) -> None:
    """Count for the charts what closed; described events say how many."""
    n = dict.fromkeys(_ITEM_STATUS, 0)
    for event in events:
        if event.type in n:
            n[EventType(event.type)] += event.data["count"]
    if job_pk is not None and any(n.values()):
        tallies.add(job_pk, n_completed=n[EventType.JOB_ITEM_COMPLETED], n_failed=n[EventType.JOB_ITEM_FAILED])


def _progress(job_pk: int | None, *, request_id: str) -> JobEvent:
    job = Job.objects.with_counts().with_pace().get(pk=job_pk)
    counters = {
        "running": list(
            Lane.objects.filter(job=job, token__isnull=False, report__isnull=False).values_list("report", flat=True)
        ),
        "totalImages": job.total_images,
        "processedImages": job.n_completed,
        "failedImages": job.n_failed,
        "cancelledImages": job.n_cancelled,
        "progress": job.progress,
        "etaSeconds": job.eta_seconds,
    }
    return JobEvent(job_id=job_pk, type=EventType.JOB_PROGRESS, data=counters, request_id=request_id)


def _call_broker(stream: EventStream, first: int) -> None:
    """Make the delivery of this stream due. A broker that comes to an old desk hears of it from now on."""
    if not BrokerDelivery.objects.filter(stream=stream).update(next_attempt_at=Coalesce("next_attempt_at", Now())):
        BrokerDelivery.objects.create(stream=stream, delivered_sequence=first - 1, next_attempt_at=Now())


def _notify(stream: EventStream, first: int) -> None:
    """Tell every process which numbers are new. One message for all: its size must not grow with the events."""
    call = {"pk": stream.job_id, "first": first, "sequence": stream.sequence}
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps(call)])

"""The message broker: every event goes there by HTTP, in the order of its stream, until it is taken or parked."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx2
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from . import connections
from .models import BrokerDelivery, EventStream, JobEvent
from .outbox import envelope

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 1.0  # doubles with every refusal
LONGEST_PAUSE_SECONDS = 300.0
PARKED_AFTER = timedelta(hours=24)
N_THREADS = 8  # streams that are delivered at once; one that hangs holds one of them
EVENTS_A_TURN = 50  # of one stream, before others have theirs
_ADVISORY_LOCK = 0x6465736B  # "desk": one process delivers


class Broker:
    """Delivers what is due. Deliveries run beside each other, those of one stream never."""

    def __init__(self, url: str, secret: str | None) -> None:
        self._url = url
        self._secret = secret
        self._client = httpx2.Client(timeout=TIMEOUT_SECONDS)
        self._threads = ThreadPoolExecutor(N_THREADS, thread_name_prefix="broker")
        self._running: dict[int, Future[None]] = {}

    def close(self) -> None:
        """Wait for the deliveries that run."""
        self._threads.shutdown(cancel_futures=True)
        self._client.close()

    def start_due(self) -> list[Future[None]]:
        """Start what is due, as far as threads are free. Returns what runs now."""
        self._running = {pk: future for pk, future in self._running.items() if not future.done()}
        n_free = N_THREADS - len(self._running)
        if n_free > 0:
            due = BrokerDelivery.objects.filter(parked_at=None, next_attempt_at__lte=Now())
            for pk in (
                due.exclude(pk__in=self._running).order_by("next_attempt_at").values_list("pk", flat=True)[:n_free]
            ):
                self._running[pk] = self._threads.submit(self._deliver, pk)
        return list(self._running.values())

    def _deliver(self, pk: int) -> None:
        try:
            self._deliver_stream(pk)
        except Exception:
            # The row is still due, so the next turn tries again; whoever reads this log knows why.
            logger.exception("delivery failed", extra={"delivery": pk})
        finally:
            connection.close()

    def _deliver_stream(self, pk: int) -> None:
        """Post the next events of one stream, one after the other."""
        delivery = BrokerDelivery.objects.select_related("stream").get(pk=pk)
        events = list(
            JobEvent.objects.filter(job=delivery.stream.job_id, sequence__gt=delivery.delivered_sequence)
            .select_related("job")
            .order_by("sequence")[:EVENTS_A_TURN]
        )
        for event in events:
            connections.release()  # the broker may take its time
            error = self._post(event)
            if error is not None:
                _refused(pk, error)
                return
            if not _delivered(delivery, event):
                return  # somebody else delivers this stream now
        if len(events) < EVENTS_A_TURN:
            _rest(delivery)

    def _post(self, event: JobEvent) -> str | None:
        """Post one event. Returns what went wrong, None if the broker took it."""
        body = json.dumps(envelope(event), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(event.message_id)}
        if self._secret:
            headers["X-Signature"] = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
        try:
            response = self._client.post(self._url, content=body, headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return f"{type(error).__name__}: {error}"
        return None if response.is_success else f"HTTP {response.status_code}: {response.text[:200]}"


def replay(delivery: BrokerDelivery) -> None:
    """Deliver a parked stream again, from where it stopped."""
    BrokerDelivery.objects.filter(pk=delivery.pk).update(
        parked_at=None, failing_since=None, attempts=0, last_error="", next_attempt_at=Now()
    )
    delivery.refresh_from_db()


def run(is_stopping: Callable[[float], bool]) -> None:
    """Deliver until told to stop, in one process of all that try. Raises database errors; then the lock is free again.

    is_stopping: waits so many seconds at most and says whether to end.
    """
    with connections.direct("desk broker") as lock:
        while not _is_ours(lock):
            if is_stopping(1.0):
                return
        broker = Broker(settings.MESSAGE_BROKER_URL, settings.MESSAGE_BROKER_SECRET)
        try:
            while not is_stopping(0.25):
                lock.execute("SELECT 1")  # without this session the lock is somebody else's
                broker.start_due()
                connections.release()
        finally:
            broker.close()


def pause_seconds(n_refused: int) -> float:
    """How long to leave the broker alone after it refused an event, n_refused times before."""
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(n_refused, 20))


def _is_ours(lock: Any) -> bool:
    return bool(lock.execute("SELECT pg_try_advisory_lock(%s)", [_ADVISORY_LOCK]).fetchone()[0])


def _delivered(delivery: BrokerDelivery, event: JobEvent) -> bool:
    """Write down how far the broker has come; False where another process has written since."""
    assert event.sequence is not None
    last, delivery.delivered_sequence = delivery.delivered_sequence, event.sequence
    return bool(
        BrokerDelivery.objects.filter(pk=delivery.pk, delivered_sequence=last, parked_at=None).update(
            delivered_sequence=event.sequence, failing_since=None, attempts=0, last_error=""
        )
    )


def _refused(pk: int, error: str) -> None:
    """Plan the next attempt, or park the stream where an operator sees it."""
    with transaction.atomic():
        delivery = BrokerDelivery.objects.select_for_update().get(pk=pk)
        BrokerDelivery.objects.filter(pk=pk).update(
            attempts=F("attempts") + 1,
            failing_since=delivery.failing_since or Now(),
            next_attempt_at=Now() + timedelta(seconds=pause_seconds(delivery.attempts)),
            last_error=error[:1000],
        )
        is_parked = BrokerDelivery.objects.filter(pk=pk, failing_since__lt=Now() - PARKED_AFTER).update(parked_at=Now())
    if is_parked:
        logger.error("delivery parked; replay it once the broker is well", extra={"delivery": pk, "error": error})
    elif delivery.attempts == 0:
        logger.warning("the broker refused an event", extra={"delivery": pk, "error": error})


def _rest(delivery: BrokerDelivery) -> None:
    """Take a stream that is delivered whole from what is due, unless more was published meanwhile."""
    with transaction.atomic():
        # Publication bumps the stream, then this row: once it is locked, the number below is the last word.
        BrokerDelivery.objects.select_for_update().get(pk=delivery.pk)
        if EventStream.objects.get(pk=delivery.stream_id).sequence <= delivery.delivered_sequence:
            BrokerDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=None)

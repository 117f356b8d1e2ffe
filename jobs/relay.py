"""What the web process does beside answering: publish, call for repairs, ring canaries, deliver, listen."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import psycopg
from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connection

from . import broker, canary, connections, lanes, outbox, wake
from .live import listener

logger = logging.getLogger(__name__)

# A stream that cannot be published is a bug, told once in this time; the others go on.
_POISONED_SECONDS = 30.0
# Between two looks at leases that ran out: items of a lost worker are back that soon after the lease.
_LEASE_WATCH_SECONDS = 1.0


class Relay:
    """The background threads of one process. Any number of processes may have them; rows and locks keep them apart."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._skipped_until: dict[int | None, float] = {}
        self._reconcile_at = float("-inf")

    def start(self) -> None:
        listener.start()
        turns: dict[str, Callable[[], None]] = {
            "relay": self._publish,
            "canary": self._ring,
            "repair": self._call_for_repairs,
        }
        if settings.MESSAGE_BROKER_URL:
            turns["broker"] = lambda: broker.run(self._stopping.wait)
        for name, turn in turns.items():
            thread = threading.Thread(target=self._keep, args=(name, turn), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End the threads and wait for them."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        listener.stop()

    def _keep(self, name: str, turn: Callable[[], None]) -> None:
        """Repeat a turn for as long as the process lives, through every loss of the database."""
        is_away = False
        while not self._stopping.is_set():
            try:
                turn()
                is_away = False
            except (OperationalError, InterfaceError, psycopg.Error) as error:
                if not is_away:
                    logger.warning("the database is away", extra={"role": name, "error": str(error)})
                is_away = True
                connection.close()
                self._stopping.wait(outbox.PUBLISH_INTERVAL_SECONDS)
            except Exception:
                logger.exception("a background turn failed", extra={"role": name})
                connection.close()
                self._stopping.wait(1.0)
        connection.close()

    def _publish(self) -> None:
        """Publish what nobody has, then wait until the next stream is due."""
        pause_seconds = outbox.PUBLISH_INTERVAL_SECONDS
        now = time.monotonic()
        for job_pk, due_in_seconds in outbox.pending_streams():
            if now < self._skipped_until.get(job_pk, 0.0):
                continue
            if due_in_seconds > 0:
                pause_seconds = min(pause_seconds, due_in_seconds)
                continue
            try:
                outbox.publish(job_pk)
            except (OperationalError, InterfaceError):
                raise
            except Error:
                logger.exception("this stream cannot be published", extra={"job_pk": job_pk})
                self._skipped_until[job_pk] = now + _POISONED_SECONDS
        connections.release()
        self._stopping.wait(pause_seconds)

    def _call_for_repairs(self) -> None:
        """Wake a worker when a lease has run out, and the great repair every RECONCILE_SECONDS.

        Django-Q's own schedule calls for the latter too, but only once a minute and from a live cluster.
        """
        for cluster in lanes.clusters_with_expired_leases():
            wake.workers(cluster)
        if time.monotonic() >= self._reconcile_at:
            self._reconcile_at = time.monotonic() + settings.RECONCILE_SECONDS
            wake.repair()
        connections.release()
        self._stopping.wait(_LEASE_WATCH_SECONDS)

    def _ring(self) -> None:
        canary.ring()
        connections.release()
        self._stopping.wait(settings.CANARY_SECONDS)


_relay: Relay | None = None
_lock = threading.Lock()


def start() -> None:
    """Start the relay of this process, once."""
    global _relay
    with _lock:
        if _relay is None:
            _relay = Relay()
            _relay.start()

"""Keeping a lease alive while its items take longer than the lease."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings
from django.db import Error, connection

from . import lanes

logger = logging.getLogger(__name__)


class Heartbeat:
    """One thread a worker process, started when first needed; its database connection lives for one beat only."""

    def __init__(self) -> None:
        self._held: tuple[UUID, float] | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, token: UUID, deadline_seconds: float) -> Iterator[None]:
        """Renew the lease every third of it until the block ends or the deadline is over.

        Past the deadline it stops: an item that hangs must lose its lease.
        """
        self._held = (token, time.monotonic() + deadline_seconds)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
            self._thread.start()
        try:
            yield
        finally:
            self._held = None

    def _beat(self) -> None:
        while True:
            time.sleep(settings.LEASE_SECONDS / 3)
            held = self._held
            if held is None or time.monotonic() > held[1]:
                continue
            try:
                lanes.renew(held[0])
            except Error:
                # The database is away; the lease counts from its return, so the next beat is early enough.
                logger.warning("lease not renewed", extra={"lane": str(held[0])})
            finally:
                connection.close()


heartbeat = Heartbeat()

"""The right to write to an upload: one request at a time, over all processes and machines.

A hold is a lease in the upload's own row. Phones leave connections half-open, so that the holder may be a request whose
client is long gone; a new one therefore asks the holder to let go, and only a holder that does not answer blocks it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Q
from django.db.models.functions import Now

from orchestrator.problems import NotFound, Problem

from . import expiry
from .models import Upload

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 0.1


class UploadBusy(Problem):
    """Another request writes to this upload"""

    status = 423


class UploadMissing(NotFound):
    """There is no such upload"""


class HoldLost(UploadBusy):
    """Another request has taken over this upload"""

    def __init__(self) -> None:
        super().__init__("Another request has taken over this upload; ask HEAD.", retry_after=1)


class Hold:
    """A lease on one upload. Renew it before UPLOAD_LEASE_SECONDS are over."""

    def __init__(self, upload_id: uuid.UUID, token: uuid.UUID, *, taken_at: float) -> None:
        self.upload_id = upload_id
        self._token = token
        self._ends_at = taken_at + settings.UPLOAD_LEASE_SECONDS  # by our own clock, and never too late

    def require(self) -> None:
        """Make sure that the lease cannot have ended, before bytes are written that no transaction guards.

        A process that was frozen finds here that somebody else may be writing. Raises HoldLost.
        """
        if time.monotonic() >= self._ends_at:
            raise HoldLost

    @classmethod
    def take(cls, upload_id: uuid.UUID, *, patience_seconds: float | None = None) -> Hold:
        """Become the one who writes; ask a present holder once to let go and wait for it.

        Raises UploadBusy if it still holds after patience_seconds (UPLOAD_YIELD_SECONDS), UploadMissing.
        """
        patience_seconds = settings.UPLOAD_YIELD_SECONDS if patience_seconds is None else patience_seconds
        gives_up_at = time.monotonic() + patience_seconds
        has_asked = False
        while True:
            hold = cls.attempt(upload_id, ask=not has_asked)
            if hold is not None:
                return hold
            has_asked = True
            if time.monotonic() >= gives_up_at:
                raise UploadBusy("Another request is writing to this upload; ask HEAD and try again.", retry_after=1)
            time.sleep(LOOK_AGAIN_SECONDS)

    @classmethod
    def attempt(cls, upload_id: uuid.UUID, *, ask: bool) -> Hold | None:
        """Take it if it is free. ask: else let its holder know that it is wanted. Raises UploadMissing."""
        hold = cls._try(upload_id)
        if hold is None and not Upload.objects.filter(pk=upload_id).exists():
            raise UploadMissing("This upload does not exist or was terminated; start a new one.")
        if hold is None and ask:
            Upload.objects.filter(pk=upload_id).exclude(hold_token=None).update(is_wanted=True)
        return hold

    @classmethod
    def _try(cls, upload_id: uuid.UUID) -> Hold | None:
        token, asked_at = uuid.uuid4(), time.monotonic()
        is_free = Q(hold_token=None) | Q(hold_expires_at__lt=Now())
        taken = Upload.objects.filter(is_free, pk=upload_id).update(
            hold_token=token, hold_expires_at=_lease_end(), is_wanted=False
        )
        return cls(upload_id, token, taken_at=asked_at) if taken else None

    def load(self) -> Upload:
        """Read the upload as it is now. Raises HoldLost."""
        upload = Upload.objects.filter(pk=self.upload_id, hold_token=self._token).first()
        if upload is None:
            raise HoldLost
        return upload

    def renew(self, **columns: Any) -> Upload:
        """Keep the lease, write these columns with it, and read the row: is_wanted, and a length set meanwhile.

        Raises HoldLost.
        """
        asked_at = time.monotonic()
        self._write(hold_expires_at=_lease_end(), **columns)
        self._ends_at = asked_at + settings.UPLOAD_LEASE_SECONDS
        return self.load()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Keep the lease while this block does something long: reading, joining or deleting whole files."""
        is_over = threading.Event()
        # The request's id goes along into the log. Nobody waits for the thread: after `release` it finds no row.
        beat, name = copy_context().run, f"heart {self.upload_id.hex[:8]}"
        threading.Thread(target=beat, args=(self._beat, is_over), name=name, daemon=True).start()
        try:
            yield
        finally:
            is_over.set()

    def _beat(self, is_over: threading.Event) -> None:
        while not is_over.wait(settings.UPLOAD_LEASE_SECONDS / 4):
            try:
                self.renew()
            except HoldLost:
                if not is_over.is_set():
                    logger.warning("lease lost during long work", extra={"upload": self.upload_id.hex[:8]})
                return
            except (OperationalError, InterfaceError) as error:
                # A lease that cannot be renewed runs out; until then the database may be back.
                logger.warning("lease not renewed", extra={"upload": self.upload_id.hex[:8], "error": str(error)})
            finally:
                connection.close()

    def save_offset(self, offset: int, store_state: dict[str, Any]) -> Upload:
        """Write how much is safe now, but never more than the length, which another request may have set meanwhile."""
        asked_at = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE uploads_upload
                SET "offset" = least(%s, coalesce(length, %s)), store_state = %s::jsonb,
                    hold_expires_at = now() + make_interval(secs => %s),
                    expires_at = CASE WHEN expires_at IS NULL THEN NULL ELSE now() + make_interval(secs => %s) END
                WHERE id = %s AND hold_token = %s
                """,
                [
                    offset,
                    offset,
                    json.dumps(store_state),
                    settings.UPLOAD_LEASE_SECONDS,
                    settings.UPLOAD_EXPIRE_SECONDS,
                    self.upload_id,
                    self._token,
                ],
            )
            if not cursor.rowcount:
                raise HoldLost
        self._ends_at = asked_at + settings.UPLOAD_LEASE_SECONDS
        upload = self.load()
        if upload.slot_id is not None:
            expiry.keep_slot_waiting(upload.slot_id)
        return upload

    def release(self) -> None:
        """Let the next one write; the lease may have gone to somebody else already, or the row may be gone."""
        Upload.objects.filter(pk=self.upload_id, hold_token=self._token).update(hold_token=None, hold_expires_at=None)

    def _write(self, **columns: Any) -> None:
        if not Upload.objects.filter(pk=self.upload_id, hold_token=self._token).update(**columns):
            raise HoldLost

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def _lease_end() -> Any:
    return Now() + timedelta(seconds=settings.UPLOAD_LEASE_SECONDS)

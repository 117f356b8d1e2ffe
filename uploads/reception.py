"""The body of one request, on its way into an upload.

Bytes are written while more arrive, made safe about once a second, and only then counted in the row. Whatever ends the
request early, what has arrived is kept; only a body with a checksum is taken whole or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from django.conf import settings

from orchestrator.problems import Problem, Unavailable

from .holds import Hold, HoldLost, UploadBusy
from .models import Upload
from .protocol import Checksum, ChecksumMismatch, UploadTooLarge
from .sinks import Sink, StoreFull, sink_of
from .storage import StoreUnavailable
from .threads import in_database, on_disk

logger = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]

_WRITE_BYTES = 512 * 1024  # twice that, per request, is all the memory a body takes
_LOOK_SECONDS = 1.0
_SAVE_SECONDS = 1.0
_SAVE_BYTES = 64 * 1024 * 1024


class ClientGone(Exception):
    """The connection was cut; nobody waits for an answer."""


class BodyStalled(Problem):
    """Nothing came for too long"""

    status = 408


class Stopping(Unavailable):
    """The service is being stopped"""


# sha256 of what has arrived so far of uploads that are not finished, by offset. Only a memory: without it the file is
# read again at its end.
_digests: OrderedDict[UUID, tuple[int, Any]] = OrderedDict()
_N_DIGESTS = 256

_present: dict[UUID, Reception] = {}


def at_work_on(upload_id: UUID) -> Reception | None:
    """Find the request of this process that writes to an upload now."""
    return _present.get(upload_id)


class Reception:
    """Takes the body of one request.

    saved: the upload as it was last written to its row.
    """

    def __init__(self, hold: Hold, upload: Upload, receive: Receive, checksum: Checksum | None) -> None:
        self.saved = upload
        self._hold = hold
        self._receive = receive
        self._sink: Sink = sink_of(upload)
        self._checksum = checksum
        self._body_digest = checksum.begin() if checksum else None
        self._file_digest = _recall(upload)
        self._pieces: list[bytes] = []
        self._n_pieces_bytes = 0
        self._is_at_end = False
        self._is_broken = False
        self._gathering: asyncio.Task[None] | None = None
        self._stop_reason: Problem | None = None
        self._should_save = asyncio.Event()
        self._was_saved = asyncio.Event()
        self._heard_at = self._saved_at = time.monotonic()

    async def run(self) -> str:
        """Take the body to its end. Returns the sha256 of the whole upload so far, empty if it is not known.

        Raises the Problem that ended it early, ClientGone, or HoldLost; in each case what could be kept is kept.
        """
        _present[self.saved.pk] = self
        heart = asyncio.create_task(self._beat())
        try:
            await self._take_all()
        finally:
            heart.cancel()
            if _present.get(self.saved.pk) is self:
                del _present[self.saved.pk]
            self._was_saved.set()
            await on_disk(self._sink.close)
        return self._file_digest.hexdigest() if self._file_digest is not None else ""

    async def save(self) -> None:
        """Ask for what has arrived to be made safe and counted, and wait for that."""
        self._was_saved.clear()
        self._should_save.set()
        self._poke()
        await self._was_saved.wait()

    def stop(self, reason: Problem) -> None:
        """Let the request end with this answer, keeping what has arrived; one whose body is complete ends well."""
        if not self._is_at_end:
            self._stop_reason = self._stop_reason or reason
            self._poke()

    # --- Taking

    async def _take_all(self) -> None:
        writing: asyncio.Future[None] | None = None
        try:
            while not self._is_at_end and self._stop_reason is None:
                if not self._should_save.is_set():
                    await self._gather_some()
                if writing is not None:
                    await writing
                    writing = None
                if self._is_save_due():
                    await self._write(self._taken())
                    await self._save(self._sink.checkpoint if not self._should_save.is_set() else self._sink.settle)
                elif self._n_pieces_bytes >= _WRITE_BYTES:
                    writing = asyncio.ensure_future(self._write(self._taken()))
            if writing is not None:
                await writing
            await self._write(self._taken())
        except (StoreFull, StoreUnavailable) as error:
            self._stop_reason = error
        except ClientGone:
            if writing is not None:
                await asyncio.wait({writing})
            await self._keep()
            raise
        await self._keep()
        if self._stop_reason is not None:
            raise self._stop_reason

    async def _gather_some(self) -> None:
        """Collect the next piece of work: enough bytes for one write, the end, or a poke."""
        self._gathering = asyncio.create_task(self._gather())
        try:
            await asyncio.wait({self._gathering})
            if not self._gathering.cancelled():
                self._gathering.result()
        finally:
            if not self._gathering.done():
                self._gathering.cancel()
            self._gathering = None

    async def _gather(self) -> None:
        while self._n_pieces_bytes < _WRITE_BYTES and not self._is_at_end:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._collect(_left_behind(self._receive))
                raise ClientGone
            self._heard_at = time.monotonic()
            self._collect(message.get("body", b""))
            self._is_at_end = not message.get("more_body", False)

    def _collect(self, body: bytes) -> None:
        if body:
            self._pieces.append(body)
            self._n_pieces_bytes += len(body)

    def _poke(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()

    def _taken(self) -> list[bytes]:
        """Take what was collected, up to the length of the upload."""
        pieces, n_bytes = self._pieces, self._n_pieces_bytes
        self._pieces, self._n_pieces_bytes = [], 0
        if self._is_broken:
            return []
        limit = self.saved.length if self.saved.length is not None else self.saved.max_size
        excess = self._sink.position + n_bytes - limit
        if excess > 0:
            too_large = UploadTooLarge(f"The upload has {limit} bytes; the rest of this body was not taken.")
            self._stop_reason = self._stop_reason or too_large
            whole = b"".join(pieces)
            pieces = [whole[: max(0, len(whole) - excess)]]
        return pieces

    async def _write(self, pieces: list[bytes]) -> None:
        if pieces:
            await on_disk(self._write_now, pieces)

    def _write_now(self, pieces: list[bytes]) -> None:
        try:
            self._hold.require()
            self._sink.append(pieces)
        except BaseException:
            self._is_broken = True  # what comes behind a gap must not be written
            self._file_digest = None  # how much of the pieces was written is the sink's to know
            raise
        for digest in (self._body_digest, self._file_digest):
            if digest is not None:
                for piece in pieces:
                    digest.update(piece)

    # --- Saving

    def _is_save_due(self) -> bool:
        if self._checksum is not None:
            if self._should_save.is_set():  # nothing of it counts before its end
                self._should_save.clear()
                self._was_saved.set()
            return False
        return (
            self._should_save.is_set()
            or self._sink.position - self.saved.offset >= _SAVE_BYTES
            or (
                time.monotonic() - self._saved_at >= _SAVE_SECONDS
                and self._sink.position + self._n_pieces_bytes > self.saved.offset
            )
        )

    async def _save(self, make_safe: Callable[[], tuple[int, dict[str, Any]]]) -> None:
        offset, state = await on_disk(make_safe)
        self.saved = await in_database(self._hold.save_offset, offset, state)
        self._saved_at = time.monotonic()
        self._should_save.clear()
        self._was_saved.set()
        if self.saved.is_whole:  # its length was said by another request, and this one may never end
            self._is_at_end = True

    async def _keep(self) -> None:
        """Count what has arrived, or, under a checksum that does not fit or was not reached, none of it."""
        if self._checksum is not None and self._body_digest is not None:
            if self._stop_reason is not None or not self._is_at_end:
                self._file_digest = None
                return
            if self._body_digest.digest() != self._checksum.expected:
                self._file_digest = None
                self._stop_reason = ChecksumMismatch(
                    f"The body does not have the {self._checksum.algorithm} that was announced; none of it was kept."
                )
                return
        else:
            try:
                await self._write(self._taken())  # what was collected when the connection broke
            except (StoreFull, StoreUnavailable) as error:
                self._stop_reason = self._stop_reason or error
        await self._save(self._sink.settle)
        _remember(self.saved, self._sink.position, self._file_digest)

    # --- Staying alive

    async def _beat(self) -> None:
        """Keep the lease, and notice who wants it, that the client fell silent, or that the service has to stop."""
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if settings.DRAIN_FILE.exists():
                self.stop(Stopping("The service is being started anew; ask HEAD and resume.", retry_after=2))
            if now - self._heard_at > settings.UPLOAD_IDLE_SECONDS:
                self.stop(BodyStalled("No byte came for too long; ask HEAD and resume."))
            if self._is_save_due():
                self._poke()
            try:
                if now - renewed_at >= settings.UPLOAD_LEASE_SECONDS / 5:
                    upload = await in_database(self._hold.renew)
                    renewed_at = now
                else:
                    upload = await in_database(self._hold.load)
            except HoldLost:
                self.stop(HoldLost())
                return
            except Exception as error:
                # A lease that cannot be renewed runs out; until then the database may be back.
                logger.warning("lease not renewed", extra={"upload": self.saved.log_name, "error": str(error)})
                continue
            if upload.is_wanted:
                self.stop(UploadBusy("Another request goes on with this upload; ask HEAD.", retry_after=1))
            if upload.length != self.saved.length:
                self.saved.length = upload.length
                self._should_save.set()
                self._poke()


def _left_behind(receive: Receive) -> bytes:
    """Fetch what arrived just before the connection broke. Once it has, uvicorn hands out nothing more, though what its
    buffer holds has arrived: measured, all of a request of 40 kB that is cut at once."""
    return bytes(getattr(getattr(receive, "__self__", None), "body", b""))


def _recall(upload: Upload) -> Any:
    if upload.offset == 0:
        return hashlib.sha256()
    offset, digest = _digests.get(upload.pk, (-1, None))
    return digest.copy() if offset == upload.offset else None


def _remember(upload: Upload, position: int, digest: Any) -> None:
    _digests.pop(upload.pk, None)
    if digest is None or upload.offset != position:
        return
    _digests[upload.pk] = (upload.offset, digest.copy())
    while len(_digests) > _N_DIGESTS:
        _digests.popitem(last=False)

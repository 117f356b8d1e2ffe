"""Where the bytes of an upload go while they come: straight to their final place in the store, never copied again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from django.core.files.storage import FileSystemStorage, default_storage

from orchestrator.problems import Problem

from . import storage
from .models import Upload
from .storage import StoreUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Left free for the database and everybody else; an upload that would go below is refused before it begins.
RESERVE_BYTES = 256 * 1024 * 1024


class StoreFull(Problem):
    """No room for this upload"""

    status = 507


class Sink(Protocol):
    """Takes bytes at the end of an upload. Blocking; used by one thread at a time.

    position: bytes taken so far, of which `checkpoint` and `settle` say how many are safe.
    """

    position: int

    def append(self, pieces: Iterable[bytes]) -> None:
        """Take more. Raises StoreFull or StoreUnavailable; `position` then says how much was taken."""

    def checkpoint(self) -> tuple[int, dict[str, Any]]:
        """Make safe what can be made so cheaply. Returns the bytes that are safe, and what has to be remembered."""

    def settle(self) -> tuple[int, dict[str, Any]]:
        """Make all of it safe; the same answer as of `checkpoint`."""

    def complete(self) -> None:
        """Turn what the row calls safe into the finished file. May be repeated."""

    def remove(self) -> None:
        """Delete everything that there is of it, finished or not."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LocalSink:
    """A file of the local store. What stands in it beyond the row's offset was never acknowledged and is cut off."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._place = Path(default_storage.path(upload.key))
        self._file: int | None = None
        self.position = upload.offset

    def append(self, pieces: Iterable[bytes]) -> None:
        left = [memoryview(piece) for piece in pieces if piece]
        try:
            file = self._open()
            while left:
                n_written = os.writev(file, left[:512])
                self.position += n_written
                while left and n_written >= len(left[0]):
                    n_written -= len(left.pop(0))
                if left:
                    left[0] = left[0][n_written:]
        except OSError as error:
            raise self._problem(error) from error

    def checkpoint(self) -> tuple[int, dict[str, Any]]:
        position = self.position  # what is written meanwhile is not promised
        if self._file is not None:
            try:
                os.fdatasync(self._file)
            except OSError as error:
                raise self._problem(error) from error
        return position, {}

    def settle(self) -> tuple[int, dict[str, Any]]:
        return self.checkpoint()

    def complete(self) -> None:
        try:
            file = self._open()
            if os.fstat(file).st_size != self._upload.offset:
                os.ftruncate(file, self._upload.offset)
            os.fsync(file)
        except OSError as error:
            raise self._problem(error) from error

    def remove(self) -> None:
        self.close()
        try:
            self._place.unlink(missing_ok=True)
        except OSError as error:
            raise self._problem(error) from error

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> int:
        if self._file is None:
            is_new = not self._place.exists()
            if is_new and self._upload.offset:
                raise StoreUnavailable(f"The store has lost what it had of upload {self._upload.log_name}.")
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._place, os.O_WRONLY | os.O_CREAT, 0o644)
            os.ftruncate(self._file, self._upload.offset)
            os.lseek(self._file, self._upload.offset, os.SEEK_SET)
            if is_new:
                self._sync_name()
        return self._file

    def _sync_name(self) -> None:
        """Make the file's name as durable as its bytes."""
        folder = os.open(self._place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _problem(self, error: OSError) -> Problem:
        if error.errno in _FULL:
            return StoreFull(
                f"The disk is full; {self.position} bytes of this upload are kept. Free some room and resume.",
                retry_after=60,
            )
        return StoreUnavailable(f"The store failed: {error.strerror}. Ask HEAD and resume.", retry_after=5)


def sink_of(upload: Upload) -> Sink:
    """Open the place of an upload's bytes."""
    if isinstance(default_storage, FileSystemStorage):
        return LocalSink(upload)
    from .multipart import MultipartSink

    return MultipartSink(upload)


def remove_files(upload: Upload) -> None:
    """Delete everything that the store has of an upload. Raises StoreUnavailable."""
    with sink_of(upload) as sink:
        sink.remove()
    if upload.is_at_tusd:
        for suffix in (".info", ".part"):  # what tusd keeps beside
            storage.delete(f"{upload.key}{suffix}")


def ensure_room(n_bytes: int) -> None:
    """Refuse what the disk cannot hold. Raises StoreFull."""
    if not isinstance(default_storage, FileSystemStorage):
        return
    folder = Path(default_storage.location)
    while not folder.exists():
        folder = folder.parent
    if shutil.disk_usage(folder).free < n_bytes + RESERVE_BYTES:
        raise StoreFull("The disk has no room for this upload. Free some room and try again.", retry_after=60)

"""The store: files under keys made of their sha256, in a local folder or an S3 bucket (settings.STORAGES).

What lies under a key never changes, so that putting it twice is harmless and readers may cache it for ever.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from asgiref.sync import sync_to_async
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, default_storage

from orchestrator.problems import NotFound, Unavailable

CHUNK_BYTES = 256 * 1024
_PAGE = 1000  # what S3 lists at once
_s3: Any = default_storage  # where it is no folder: for what S3Storage has beyond Django's interface
_SHA256 = re.compile(r"[0-9a-f]{64}")


class StoreUnavailable(Unavailable):
    """The file store cannot be reached"""


class FileMissing(NotFound):
    """The file is not in the store"""


def key_of(folder: str, sha256: str, suffix: str) -> str:
    """Name the place of these bytes: `images/ab/ab12….jpg`. suffix: with its dot."""
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is not a sha256 in lowercase hexadecimal.")
    return f"{folder}/{sha256[:2]}/{sha256}{suffix}"


def ensure_place() -> None:
    """Make the folder or the bucket that everything goes to, where it is not there yet. Raises StoreUnavailable."""
    with _store("the store itself"):
        if isinstance(default_storage, FileSystemStorage):
            Path(default_storage.location).mkdir(parents=True, exist_ok=True)
            return
        bucket = _s3.bucket
        try:
            bucket.meta.client.head_bucket(Bucket=bucket.name)
        except ClientError as error:
            if _code(error) not in {"404", "NoSuchBucket"}:
                raise
            bucket.create()


def put(key: str, source: BinaryIO) -> None:
    """Store the whole of a seekable file unless its key is there already. Readers never see half of it.

    Raises StoreUnavailable.
    """
    with _store(key):
        if default_storage.exists(key):
            return
        source.seek(0)
        if isinstance(default_storage, FileSystemStorage):
            _put_locally(Path(default_storage.path(key)), source)
        else:
            default_storage.save(key, File(source, name=key))


def exists(key: str) -> bool:
    with _store(key):
        return default_storage.exists(key)


def open_whole(key: str) -> BinaryIO:
    """Open a file for reading at any position. The caller closes it.

    Raises FileMissing, StoreUnavailable.
    """
    with _store(key):
        if isinstance(default_storage, FileSystemStorage):
            return cast(BinaryIO, default_storage.open(key, "rb"))
        # S3Storage would fetch the whole of it into memory.
        file = spool()
        try:
            _object(key).download_fileobj(file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file


def spool() -> BinaryIO:
    """Open a temporary file for bytes of any number; it is gone once the caller closes it.

    The system's own folder for such files may be small, or in memory.
    """
    folder = settings.VAR_DIR / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


def size(key: str) -> int:
    """Return the bytes of a file. Raises FileMissing, StoreUnavailable."""
    with _store(key):
        return int(default_storage.size(key))


def delete(key: str) -> None:
    """Remove a file; it may be gone already."""
    with _store(key):
        default_storage.delete(key)


def pages_of(folder: str) -> Iterator[list[str]]:
    """List the keys under a folder, up to 1000 at a time, so that memory stays flat. Raises StoreUnavailable."""
    with _store(folder):
        if isinstance(default_storage, FileSystemStorage):
            keys = _local_keys(Path(default_storage.path(folder)), folder)
            while page := list(islice(keys, _PAGE)):
                yield page
            return
        place = f"{_s3._normalize_name(folder)}/"
        for listed in _s3.bucket.objects.filter(Prefix=place).pages():
            yield [f"{folder}/{entry.key.removeprefix(place)}" for entry in listed]


class Stream:
    """A stored file as an asynchronous iterator, one chunk in memory at a time.

    Under ASGI Django collects what a synchronous iterator gives before it sends the first byte; and S3Storage fetches
    the whole object into memory before its first read. Both are gone around here.

    start, end: the first byte and the one behind the last; the whole file without them.
    """

    def __init__(self, key: str, *, start: int = 0, end: int | None = None) -> None:
        self._left = None if end is None else end - start
        with _store(key):
            if isinstance(default_storage, FileSystemStorage):
                self._file = cast(BinaryIO, default_storage.open(key, "rb"))
                self._file.seek(start)
            else:
                span = {} if not start and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
                self._file = _object(key).get(**span)["Body"]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = sync_to_async(self._file.read, thread_sensitive=False)
        while chunk := await read(CHUNK_BYTES if self._left is None else min(CHUNK_BYTES, self._left)):
            if self._left is not None:
                self._left -= len(chunk)
            yield chunk

    def close(self) -> None:
        """Called by the response, also when the reader went away."""
        self._file.close()


def _object(key: str) -> Any:
    """Name an object of the bucket, with nothing of Django in between."""
    return _s3.bucket.Object(_s3._normalize_name(key))


def _local_keys(place: Path, folder: str) -> Iterator[str]:
    for inner, _, filenames in os.walk(place):
        for filename in filenames:
            yield f"{folder}/{(Path(inner) / filename).relative_to(place).as_posix()}"


def _put_locally(place: Path, source: BinaryIO) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".part-", delete=False) as part:
        try:
            shutil.copyfileobj(source, part, CHUNK_BYTES)
            part.flush()
            os.fsync(part.fileno())  # the row that names these bytes is durable, so they must be
            Path(part.name).chmod(0o644)
            Path(part.name).replace(place)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _store(key: str) -> Iterator[None]:
    """Give the faults of every store the same two names."""
    try:
        yield
    except (OSError, BotoCoreError, ClientError) as error:
        if isinstance(error, FileNotFoundError) or _code(error) in {"NoSuchKey", "404"}:
            raise FileMissing(f"The store has no {key}. Upload the original again.") from None
        raise StoreUnavailable(f"The store failed at {key}: {error}. Try again.", retry_after=5) from error


def _code(error: Exception) -> str:
    return error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""

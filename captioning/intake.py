"""How a picture comes into a data set, whoever brings it: an upload, an import, a job that names a loose file."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from django.conf import settings
from django.db import IntegrityError, transaction

from orchestrator.problems import Conflict, NotFound
from orchestrator.texts import is_storable
from uploads import storage

from . import lookalikes, pictures, workspace
from .models import Dataset, Image
from .pictures import PictureRefused

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_LONGEST_NAME = 1000  # bytes; beyond 2700 no index takes it
# A file may change until its last byte is read, and the clock of a disk's inodes runs up to 10 ms behind.
_READING_TIME = timedelta(seconds=10)


class DatasetGone(NotFound):
    """The data set was deleted"""


class DatasetNamesTaken(Conflict):
    """The data set's name is taken by somebody else"""


@dataclass(frozen=True)
class Taken:
    """An image of the data set. created: false if the data set had these bytes before."""

    image: Image
    created: bool


def intake(dataset: Dataset, name: str, file: BinaryIO) -> Taken:
    """Take one picture into a data set: its bytes into the store, then its row.

    name: what its bringer calls it. file: seekable, nobody else's to change; left open.
    The file lies in the store before the row is committed; a crash between leaves one that the same bytes find again.
    Raises PictureRefused, DatasetGone, StoreUnavailable.
    """
    _check_name(name)
    sha256, size = _digest(file)
    known = Image.objects.filter(dataset=dataset, sha256=sha256).first()
    if known is not None:
        storage.put(known.stored_as, file)  # heals a store that lost it; else it costs a look
        return Taken(known, created=False)
    picture = pictures.inspect(file)
    key = storage.key_of("images", sha256, picture.suffix)
    storage.put(key, file)
    try:
        with transaction.atomic():
            Image.objects.lock_bytes([sha256])
            storage.put(key, file)  # again, since who deleted these bytes elsewhere may have had the lock before us
            image, created = Image.objects.get_or_create(
                dataset=dataset,
                sha256=sha256,
                defaults={
                    "path": name,
                    "stored_as": key,
                    "format": picture.format,
                    "size": size,
                    "width": picture.width,
                    "height": picture.height,
                    "n_frames": picture.n_frames,
                    "taken_at": picture.taken_at,
                    "exif": picture.exif,
                },
            )
    except IntegrityError:
        if Dataset.objects.filter(pk=dataset.pk).exists():
            raise
        raise DatasetGone(f"The data set {dataset.name} was deleted meanwhile.") from None
    if created:
        # By itself: a crash between leaves a picture that `find_lookalikes` looks at later. And last: all who place
        # pictures take turns: nobody may keep that turn while waiting for the lock of other bytes.
        transaction.on_commit(partial(lookalikes.place, image, picture.look))
    return Taken(image, created)


def lock(files: Iterable[BinaryIO]) -> None:
    """Be the only one to take in these pictures, until the transaction ends.

    For whoever takes several in one transaction: one after the other, two of them could wait for each other.
    """
    hashes = []
    for file in files:
        with suppress(PictureRefused):
            hashes.append(_digest(file)[0])
    Image.objects.lock_bytes(hashes)


def intake_path(dataset: Dataset, path: str) -> Taken:
    """Take a file of the workspace into a data set. path: see workspace.file_at.

    Raises PathRefused beside what intake raises.
    """
    place = workspace.file_at(path)
    name = workspace.name_of(place)
    if place.stat().st_size > settings.IMAGE_MAX_BYTES:
        raise _too_large()
    # A copy of our own: whoever writes to the workspace must not change the bytes between their hash and the store.
    with tempfile.SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE) as copy:
        try:
            with place.open("rb") as original:
                shutil.copyfileobj(original, copy, storage.CHUNK_BYTES)
        except OSError as error:
            raise PictureRefused(f"The file cannot be read: {error.strerror}. Check its permissions.") from None
        return intake(dataset, name, cast(BinaryIO, copy))


def register_path(path: str, user: User | None) -> Image:
    """Return the image of a file below the workspace that a job names, taken into its data set if need be.

    The data set is named by the first folder below `datasets/`, else `workspace`. Data sets belong to somebody: where
    that name is another user's, this user's own is called `<name>-<user id>`.
    Raises PathRefused, DatasetNamesTaken and what intake raises.
    """
    place = workspace.file_at(path)
    name = workspace.name_of(place)
    dataset = _dataset_for(name, user)
    stat = place.stat()
    # The inode is older than the reading of the row's bytes, so these are they: no need to read them all again.
    settled_at = datetime.fromtimestamp(stat.st_ctime, UTC) + _READING_TIME
    known = dataset.images.filter(path=name, size=stat.st_size, created_at__gt=settled_at).order_by("-id").first()
    return known or intake_path(dataset, path).image


def _dataset_for(name: str, user: User | None) -> Dataset:
    folders = name.split("/")
    base = folders[1] if folders[0] == "datasets" and len(folders) > 2 else "workspace"
    base = re.sub(r"[^A-Za-z0-9_-]+", "_", base)[:40]  # room for a user id in the 64 that a name may have
    names = [base] if user is None else [base, f"{base}-{user.pk}"]
    for candidate in names:
        dataset, _ = Dataset.objects.get_or_create(name=candidate, defaults={"owner": user})
        if user is None or user.is_staff or dataset.owner_id == user.pk:
            return dataset
    raise DatasetNamesTaken(f"The data sets {' and '.join(names)} are somebody else's. Upload {name} to one of yours.")


def _check_name(name: str) -> None:
    if not is_storable(name):
        raise PictureRefused("The file's name is not valid UTF-8. Rename it.")
    if len(name.encode()) > _LONGEST_NAME:
        raise PictureRefused(f"The file's name is longer than {_LONGEST_NAME} bytes. Shorten it.")


def _digest(file: BinaryIO) -> tuple[str, int]:
    """Hash a file piece by piece; returns sha256 in hexadecimal and the number of bytes."""
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(storage.CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if size > settings.IMAGE_MAX_BYTES:
            raise _too_large()
    return digest.hexdigest(), size


def _too_large() -> PictureRefused:
    return PictureRefused(f"The file is larger than {settings.IMAGE_MAX_BYTES // 1024**2} MB. Save it smaller.")

"""Parallel uploads: parts become one file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Least, Now

from orchestrator.problems import Conflict, Invalid

from . import intake, rows, storage
from .finishing import finish
from .holds import Hold
from .models import Upload
from .protocol import UploadTooLarge
from .sinks import sink_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User

# Parts that were joined stay for a client that did not get the answer and asks again, then they only fill the disk.
_JOINED_PART_SECONDS = 3600


class PartsUnfinished(Conflict):
    """Not all parts are complete"""


def plan(part_ids: Sequence[UUID], *, owner: User | None, concat: str, metadata_header: str) -> Upload:
    """Make the row of a final upload. Raises Invalid, PartsUnfinished, UploadTooLarge, QuotaReached.

    It counts beside its parts: these stay a while, and one may be named often.
    """
    length = _length_of(part_ids, settings.UPLOAD_MAX_BYTES)
    rows.require_quota(owner, length)
    return intake.new_upload(
        owner=owner,
        concat=concat,
        metadata_header=metadata_header,
        length=length,
        max_size=settings.UPLOAD_MAX_BYTES,
    )


def plan_into(slot_id: UUID, part_ids: Sequence[UUID], *, concat: str, metadata_header: str) -> Upload:
    """Make a slot the final upload of these parts; asked again with the same parts, it stays what it is.

    Raises Invalid, PartsUnfinished, UploadTooLarge, Conflict if the slot holds bytes of its own.
    """
    with transaction.atomic():
        slot = Upload.objects.select_for_update(of=("self",)).get(pk=slot_id)
        if slot.concat == concat and slot.length is not None:
            return slot
        if slot.concat or slot.offset or slot.length is not None:
            raise Conflict("This upload has begun in another way; go on with PATCH.")
        slot.length = _length_of(part_ids, slot.max_size)
        slot.concat = concat
        slot.metadata_header = slot.metadata_header or metadata_header
        slot.save(update_fields=["length", "concat", "metadata_header"])
    return slot


def join(hold: Hold, part_ids: Sequence[UUID]) -> Upload:
    """Copy the parts into the final upload and finish it. Until all are there its row counts nothing, so that a crash
    leaves nothing half-done."""
    final = hold.load()
    if final.is_finished:
        return final
    if not final.is_whole or final.length == 0:
        with sink_of(final) as sink:
            for part in _parts(part_ids):
                with storage.open_whole(part.key) as file:
                    while piece := file.read(storage.CHUNK_BYTES):
                        sink.append([piece])
            hold.save_offset(*sink.settle())
    final = finish(hold)
    Upload.objects.filter(pk__in=part_ids).update(
        expires_at=Least("expires_at", Now() + timedelta(seconds=_JOINED_PART_SECONDS))
    )
    return final


def _parts(part_ids: Sequence[UUID]) -> list[Upload]:
    found = Upload.objects.in_bulk(part_ids)
    parts = [found[part_id] for part_id in part_ids if part_id in found]
    if len(parts) < len(part_ids) or not all(part.is_partial and part.removed_at is None for part in parts):
        raise Invalid("Upload-Concat names an upload that is not a part, or is gone.")
    return parts


def _length_of(part_ids: Sequence[UUID], most: int) -> int:
    parts = _parts(part_ids)
    if not all(part.is_finished for part in parts):
        raise PartsUnfinished("Send the rest of the parts first, then put them together.")
    length = sum(part.offset for part in parts)
    if length > most:
        raise UploadTooLarge(f"The parts have {length} bytes together; {most} are possible.", max_size=most)
    return length

"""What requests of clients do to the rows of uploads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils import timezone

from orchestrator.problems import Forbidden, Invalid, Problem, TooLarge

from . import expiry, intake
from .holds import Hold
from .models import Upload
from .protocol import UploadTooLarge
from .signals import upload_removed
from .sinks import remove_files

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

MOST_PARTS_OF_SLOT = 64
_MOST_OPEN = 1000


class UploadGone(Problem):
    """The upload has expired or was terminated"""

    status = 410


class UploadTaken(Forbidden):
    """The file belongs to the desk now"""


class QuotaReached(TooLarge):
    """Too many bytes in uploads of this user"""


def living(upload_id: UUID) -> Upload:
    """Read an upload that a client may still use. Raises UploadMissing, UploadGone."""
    upload = intake.find(upload_id)
    is_late = upload.expires_at is not None and upload.expires_at <= timezone.now()
    if upload.removed_at is not None or is_late:
        raise UploadGone("This upload has expired or was terminated; start a new one.")
    return upload


def create(*, owner: User | None, length: int | None, metadata_header: str, concat: str, slot: Upload | None) -> Upload:
    """Make the upload that a client asks for; with a slot, a part of it. Raises QuotaReached."""
    if slot is None:
        require_quota(owner, length or 0)
    elif slot.parts.filter(removed_at=None).count() >= MOST_PARTS_OF_SLOT:
        raise QuotaReached(f"An upload can have {MOST_PARTS_OF_SLOT} parts at most.")
    upload = intake.new_upload(
        owner=owner,
        slot=slot,
        length=length,
        metadata_header=metadata_header,
        concat=concat,
        max_size=slot.max_size if slot is not None else settings.UPLOAD_MAX_BYTES,
    )
    if slot is not None:
        expiry.keep_slot_waiting(slot.pk)
    logger.info("upload created", extra={"upload": upload.log_name, "bytes": length})
    return upload


def announce(upload_id: UUID, *, length: int | None, metadata_header: str) -> Upload:
    """Note the length that a client says later than at creation, and what it says of a file that nothing is known of.

    Raises Invalid where another length is known or more has arrived already, UploadTooLarge.
    """
    with transaction.atomic():
        upload = Upload.objects.select_for_update(of=("self",)).filter(pk=upload_id).first()
        if upload is None:
            return intake.find(upload_id)
        columns = []
        if length is not None and length != upload.length:
            if upload.length is not None:
                raise Invalid(f"Upload-Length was {upload.length} and cannot become {length}.")
            if length > upload.max_size:
                raise UploadTooLarge(f"This upload can have {upload.max_size} bytes at most.", max_size=upload.max_size)
            if length < upload.offset:
                raise Invalid(f"Upload-Length {length} is less than what has arrived: {upload.offset}.")
            upload.length = length
            columns.append("length")
        if metadata_header and not upload.metadata_header:
            upload.metadata_header = metadata_header
            columns.append("metadata_header")
        if columns:
            upload.save(update_fields=columns)
    return upload


def terminate(hold: Hold) -> None:
    """Do what a client's DELETE asks for.

    The row of a slot stays, since the app that opened it points to it; it answers 410 from now on. A finished slot is
    the app's alone: a survey must not lose its input while it runs. Raises UploadTaken, StoreUnavailable.
    """
    upload = hold.load()
    if upload.is_slot and upload.is_finished:
        raise UploadTaken("The file was taken over and cannot be withdrawn here.")
    remove_bytes(hold)
    if not upload.is_slot:
        Upload.objects.filter(pk=upload.pk).delete()
    logger.info("upload terminated", extra={"upload": upload.log_name})


def remove_bytes(hold: Hold) -> None:
    """Delete the bytes of an upload, leave a row that says it is gone, and tell the app that opened it."""
    remove_files(hold.load())
    with transaction.atomic():
        upload = hold.renew(
            offset=0, length=None, store_state={}, finished_at=None, sha256="", removed_at=Now(), expires_at=Now()
        )
        upload_removed.send(Upload, upload=upload)


def require_quota(owner: User | None, n_bytes: int) -> None:
    """Keep one user from filling the disk. Not exact under concurrency: two requests at once may pass together.

    Raises QuotaReached.
    """
    present = Upload.objects.filter(Q(expires_at__gt=Now()), owner=owner, is_slot=False, slot=None, removed_at=None)
    found = present.aggregate(n=Count("pk"), n_bytes=Sum(Greatest("offset", Coalesce("length", "offset"))))
    if found["n"] >= _MOST_OPEN or (found["n_bytes"] or 0) + n_bytes > settings.UPLOAD_QUOTA_BYTES:
        raise QuotaReached("Your uploads fill what you may use here; terminate some, or wait until they expire.")

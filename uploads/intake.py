"""What other apps do with uploads: open a slot for a file, read what arrived, let it go.

How a finished upload is told: `uploads.signals.upload_finished` (docs/explanation/uploads.md).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, BinaryIO
from uuid import UUID, uuid4

from django.conf import settings
from django.http import HttpRequest

from orchestrator.problems import Conflict

from . import expiry, storage
from .expiry import keep_waiting as keep_waiting
from .expiry import let_go as let_go
from .finishing import finish
from .holds import Hold, UploadMissing
from .models import TUSD_FOLDER, Upload
from .sinks import remove_files

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

PATH = "/files"


class UploadNotFinished(Conflict):
    """The upload is not complete yet"""


def open_slot(*, label: str, owner: User | None = None, max_size: int | None = None) -> Upload:
    """Make a place for one file that a client will send to `address_of` it; its length is the client's to say.

    label: what the app calls it; it is never shown to the client.
    max_size: bytes; at most, and if None, UPLOAD_MAX_BYTES.
    A slot that nobody fills expires after UPLOAD_EXPIRE_SECONDS without a byte; a finished one stays until `discard`.
    Where a foreign tusd takes the uploads, it is asked for a place: open slots before a transaction. Raises
    TusdUnavailable.
    """
    limit = settings.UPLOAD_MAX_BYTES
    upload = new_upload(label=label, owner=owner, is_slot=True, max_size=min(max_size or limit, limit))
    if upload.is_at_tusd:
        from . import tusd

        tusd.create(upload)
    return upload


def new_upload(**columns: object) -> Upload:
    """Write the row of an upload that has no bytes yet."""
    upload_id = uuid4()
    key = (
        f"uploads/{upload_id.hex[:2]}/{upload_id.hex}"
        if settings.TUS_SERVER == "built-in"
        else f"{TUSD_FOLDER}{upload_id}"
    )
    defaults = {"id": upload_id, "key": key, "expires_at": expiry.from_now()}
    upload = Upload.objects.create(**defaults | columns)
    upload.refresh_from_db()
    return upload


def address_of(upload: Upload, request: HttpRequest) -> str:
    """Name the address that clients send the file to: TUS_ENDPOINT, else our own origin behind the proxy, else the
    request's host with TUS_PORT."""
    if upload.is_at_tusd:
        from . import tusd

        return tusd.address_of(upload)
    if settings.TUS_ENDPOINT:
        base = settings.TUS_ENDPOINT.removesuffix(PATH)
    elif settings.PUBLIC_URL:
        base = settings.PUBLIC_URL
    elif settings.TRUSTED_PROXIES and "X-Forwarded-For" in request.headers:
        base = f"{request.scheme}://{request.get_host()}"
    else:
        host = request.get_host()
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        base = f"{request.scheme}://{name}:{settings.TUS_PORT}"
    return f"{base}{PATH}/{upload.id}"


def close_slot(upload: Upload) -> bool:
    """Take what has arrived as the whole file, if the client never said its length. Tells whether it is finished now.

    A slot without a byte stays open; one whose declared length has not arrived does too.
    Raises UploadBusy while a request writes to it and does not let go, UploadMissing, StoreUnavailable,
    TusdUnavailable.
    """
    if upload.is_finished:
        return True
    if upload.is_at_tusd:
        from . import tusd

        tusd.close(upload)  # before our hold: tusd may take longer to answer than that lasts
    with Hold.take(upload.pk) as hold, hold.beating():
        upload = hold.load()
        if upload.is_at_tusd:
            upload = tusd.catch_up(hold)
        elif upload.length is None and upload.offset:
            upload = hold.renew(length=upload.offset)
        if upload.is_whole and not upload.is_finished:
            upload = finish(hold)
        return upload.is_finished


def open_finished(upload: Upload) -> BinaryIO:
    """Open the bytes of a finished upload for reading at any position. The caller closes it.

    Raises UploadNotFinished, FileMissing, StoreUnavailable.
    """
    if not upload.is_finished:
        raise UploadNotFinished("This upload is not complete yet; send the rest of the file.")
    return storage.open_whole(upload.key)


def keep(upload: Upload) -> None:
    """Take over an upload that a client created on its own: from now on it stays until it is discarded."""
    Upload.objects.filter(pk=upload.pk).update(expires_at=None, is_slot=True)


def discard(upload: Upload) -> None:
    """Delete an upload and its bytes, whatever its state; it may be gone already.

    Raises UploadBusy while a request writes to it and does not let go, StoreUnavailable.
    """
    try:
        hold = Hold.take(upload.pk)
    except UploadMissing:
        return
    with hold:
        upload = hold.load()
        for part in upload.parts.all():
            discard(part)
        remove_files(upload)
        Upload.objects.filter(pk=upload.pk).delete()
    logger.info("upload discarded", extra={"upload": upload.log_name, "label": upload.label})


def find(upload_id: UUID) -> Upload:
    """Read an upload. Raises UploadMissing."""
    upload = Upload.objects.filter(pk=upload_id).first()
    if upload is None:
        raise UploadMissing("This upload does not exist or was terminated; start a new one.")
    return upload

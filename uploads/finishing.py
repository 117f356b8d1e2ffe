"""The end of an upload: its bytes become one file of the store, and the apps above hear of it once."""

from __future__ import annotations

import hashlib
import logging

from django.db import transaction
from django.db.models.functions import Now

from .holds import Hold, HoldLost
from .models import Upload
from .signals import upload_finished
from .sinks import sink_of
from .storage import CHUNK_BYTES, open_whole

logger = logging.getLogger(__name__)


def finish(hold: Hold, *, sha256: str = "") -> Upload:
    """Close a whole upload: complete its file, mark it, announce it. Doing it again does nothing.

    Everything before the last transaction may be repeated after a crash; the mark and what the receivers of
    `upload_finished` write are that one transaction.
    sha256: of all bytes, if they were counted as they came; else the file is read.
    """
    upload = hold.load()
    if upload.is_finished:
        return upload
    if not upload.is_whole:
        raise ValueError(f"Upload {upload.log_name} has {upload.offset} of {upload.length} bytes.")
    with sink_of(upload) as sink:
        sink.complete()
    if not sha256:
        sha256 = _sha256_of(upload)
    with transaction.atomic():
        upload = Upload.objects.select_for_update(of=("self",)).get(pk=upload.pk)
        if upload.is_finished:
            return upload
        upload.sha256 = sha256
        upload.finished_at = Now()
        upload.store_state = {}
        if upload.is_slot:
            upload.expires_at = None
        try:
            hold.renew(sha256=sha256, finished_at=upload.finished_at, store_state={}, expires_at=upload.expires_at)
        except HoldLost:
            transaction.set_rollback(True)
            raise
        upload.refresh_from_db()
        if not upload.is_partial:  # a part is nobody's file until it is concatenated
            upload_finished.send(Upload, upload=upload)
    logger.info("upload finished", extra={"upload": upload.log_name, "label": upload.label, "bytes": upload.length})
    return upload


def _sha256_of(upload: Upload) -> str:
    digest = hashlib.sha256()
    with open_whole(upload.key) as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()

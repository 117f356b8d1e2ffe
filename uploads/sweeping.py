"""What nobody comes back for: expired uploads, and whole ones whose last request died before it could finish them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from django.db.models import F, Q
from django.db.models.functions import Now

from orchestrator.problems import Problem

from .finishing import finish
from .holds import Hold
from .models import TUSD_FOLDER, Upload
from .rows import remove_bytes

logger = logging.getLogger(__name__)

_AT_ONCE = 500
# For so long an expired upload answers 410 rather than 404.
_REMEMBERED = timedelta(days=7)


def sweep() -> None:
    """Finish, expire and forget. Any number of processes may do it at once: each upload is held while it is touched."""
    free = Q(hold_token=None) | Q(hold_expires_at__lt=Now())
    at_tusd = Upload.objects.filter(free, finished_at=None, removed_at=None, key__startswith=TUSD_FOLDER)
    for upload in at_tusd.order_by("created_at")[:_AT_ONCE]:
        _under_hold(upload, _catch_up)  # its hook was lost, where it is complete
    whole = Upload.objects.filter(free, finished_at=None, removed_at=None, length=F("offset"))
    for upload in whole.exclude(expires_at__lt=Now()).order_by("created_at")[:_AT_ONCE]:
        _under_hold(upload, finish)
    expired = Upload.objects.filter(free, removed_at=None, expires_at__lt=Now())
    for upload in expired.order_by("expires_at")[:_AT_ONCE]:
        _under_hold(upload, _expire)
    Upload.objects.filter(removed_at__lt=Now() - _REMEMBERED, is_slot=False).delete()


def _catch_up(hold: Hold) -> None:
    from . import tusd

    if tusd.catch_up(hold).is_whole:
        finish(hold)


def _expire(hold: Hold) -> None:
    upload = hold.load()
    if not Upload.objects.filter(pk=upload.pk, expires_at__lt=Now()).exists():
        return  # a byte came, or an app took it over, since we looked
    remove_bytes(hold)
    logger.info("upload expired", extra={"upload": upload.log_name, "label": upload.label, "bytes": upload.offset})


def _under_hold(upload: Upload, verb: Callable[[Hold], object]) -> None:
    """Do one thing to one upload; what goes wrong with it must not keep the others waiting."""
    try:
        hold = Hold.attempt(upload.pk, ask=False)
        if hold is None:
            return
        with hold, hold.beating():
            verb(hold)
    except Problem as error:
        logger.warning("upload not swept", extra={"upload": upload.log_name, "error": str(error)})
    except Exception:
        logger.exception("upload not swept", extra={"upload": upload.log_name})

"""When uploads end that get no byte any more."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Expression, Q, QuerySet
from django.db.models.functions import Now

from .models import Upload


def from_now() -> Expression:
    """Return when an upload ends that gets no byte from now on."""
    return Now() + timedelta(seconds=settings.UPLOAD_EXPIRE_SECONDS)


def keep_waiting(upload_ids: Iterable[UUID]) -> None:
    """Let unfinished uploads expire no sooner than if a byte of them came now."""
    uploads = Upload.objects.filter(pk__in=list(upload_ids), finished_at=None, expires_at__isnull=False)
    _set(uploads, from_now())


def keep_slot_waiting(slot_id: UUID) -> None:
    """Let a slot that is sent in parts, and all of its parts, expire no sooner than if a byte of them came now.

    A part that is complete waits for the others, so it stays as well; what was given up does not come back.
    """
    _set(Upload.objects.filter(Q(pk=slot_id) | Q(slot=slot_id), expires_at__gt=Now()), from_now())


def let_go(upload_ids: Iterable[UUID]) -> None:
    """Give up slots, finished or not: the sweep removes their bytes, and their rows say that they are gone."""
    _set(Upload.objects.filter(pk__in=list(upload_ids)), Now())


def _set(uploads: QuerySet[Upload], expires_at: Expression) -> None:
    """Leave out those that somebody else has locked: they are finished or removed at this moment, and who does that may
    in turn wait for what our caller holds."""
    with transaction.atomic():
        free = uploads.filter(removed_at=None).select_for_update(skip_locked=True, of=("self",))
        Upload.objects.filter(pk__in=list(free.values_list("pk", flat=True))).update(expires_at=expires_at)

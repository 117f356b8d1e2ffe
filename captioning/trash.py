"""Deleted pictures stay for an hour, so that a deletion can be undone.

They move into a data set of their own that nobody sees (`Dataset.trash_of`), captions and all; so every list, job and
review that asks for a data set's pictures leaves them out without knowing of it.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from .models import Dataset, Image
from .querysets import DatasetQuerySet, ImageQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

KEPT = timedelta(hours=1)


def throw_away(images: ImageQuerySet, dataset: Dataset, *, by: User) -> tuple[Dataset, int]:
    """Move these pictures of a data set into its trash; returns the new trash and how many it holds.

    A trash without any is gone at once.
    """
    with transaction.atomic():
        trash = Dataset.objects.create(name=f"deleted-{uuid4().hex}", trash_of=dataset, thrown_by=by)
        chosen = images.filter(dataset=dataset).order_by().values("pk")
        n_images = Image.objects.filter(pk__in=chosen).update(dataset=trash)
        if not n_images:
            Dataset.objects.filter(pk=trash.pk).delete()
    logger.info("images deleted", extra={"dataset": dataset.name, "n_images": n_images, "user": by.pk})
    return trash, n_images


def restore(trash: Dataset) -> tuple[int, int]:
    """Put a trash back; returns how many pictures came back, and how many were there again and are now dropped."""
    with transaction.atomic():
        # Whoever empties it holds the row; there is nothing to put back then.
        locked = Dataset.objects.select_for_update().filter(pk=trash.pk).first()
        if locked is None:
            return 0, 0
        uploaded_again = Image.objects.filter(dataset=locked.trash_of_id, sha256=OuterRef("sha256"))
        n_back = locked.images.filter(~Exists(uploaded_again)).update(dataset=locked.trash_of_id)
        n_dropped = locked.images.count()
        Dataset.objects.filter(pk=locked.pk).delete()
    return n_back, n_dropped


def of(dataset: Dataset) -> DatasetQuerySet:
    """What was deleted from a data set and can still come back, the latest first; with n_images."""
    return Dataset.objects.filter(trash_of=dataset).select_related("thrown_by").with_counts().order_by("-created_at")


def empty() -> int:
    """Delete for good what has lain long enough; returns how many pictures. Runs every few minutes."""
    n_images = 0
    for trash in Dataset.objects.filter(trash_of__isnull=False, created_at__lt=Now() - KEPT).order_by("pk"):
        with transaction.atomic():
            if Dataset.objects.select_for_update(skip_locked=True).filter(pk=trash.pk).exists():
                n_images += trash.images.count()
                trash.delete()
    return n_images

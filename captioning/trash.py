"""What people delete stays for an hour, so that a deletion can be undone.

The trash is made of data sets that nobody sees (`Dataset.thrown_at`), and every list, job and review that asks for what
somebody may see leaves them out without knowing of it. Deleted pictures move into one of their own, captions and all; a
data set that is deleted whole becomes one, under another name, so that its own is free.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from orchestrator.problems import Conflict

from .models import Dataset, Image
from .querysets import DatasetQuerySet, ImageQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

KEPT = timedelta(hours=1)


class NameTakenMeanwhile(Conflict):
    """Another data set has taken the name"""


def throw_away(images: ImageQuerySet, dataset: Dataset, *, by: User) -> tuple[Dataset, int]:
    """Move these pictures of a data set into its trash; returns the new trash and how many it holds.

    A trash without any is gone at once.
    """
    with transaction.atomic():
        trash = Dataset.objects.create(name=_hidden_name(), trash_of=dataset, thrown_by=by, thrown_at=Now())
        chosen = images.filter(dataset=dataset).order_by().values("pk")
        n_images = Image.objects.filter(pk__in=chosen).update(dataset=trash)
        if not n_images:
            Dataset.objects.filter(pk=trash.pk).delete()
    logger.info("images deleted", extra={"dataset": dataset.name, "n_images": n_images, "user": by.pk})
    return trash, n_images


def throw_away_whole(dataset: Dataset, *, by: User) -> bool:
    """Put a data set into the trash, one row however many pictures it has; False if it lies there already."""
    is_thrown = bool(
        Dataset.objects.filter(pk=dataset.pk, thrown_at=None).update(
            thrown_at=Now(), thrown_by=by, thrown_name=F("name"), name=_hidden_name()
        )
    )
    if is_thrown:
        logger.info("data set deleted", extra={"dataset": dataset.name, "user": by.pk})
    return is_thrown


def restore(trash: Dataset) -> tuple[int, int]:
    """Put a trash back; returns how many pictures came back, and how many were there again and are now dropped.

    Raises NameTakenMeanwhile where a whole data set cannot have its name again.
    """
    with transaction.atomic():
        # Whoever empties it holds the row; there is nothing to put back then.
        locked = Dataset.objects.select_for_update().filter(pk=trash.pk, thrown_at__isnull=False).first()
        if locked is None:
            return 0, 0
        return _pictures_back(locked) if locked.trash_of_id else (_whole_back(locked), 0)


def _pictures_back(trash: Dataset) -> tuple[int, int]:
    uploaded_again = Image.objects.filter(dataset=trash.trash_of_id, sha256=OuterRef("sha256"))
    n_back = trash.images.filter(~Exists(uploaded_again)).update(dataset=trash.trash_of_id)
    n_dropped = trash.images.count()
    Dataset.objects.filter(pk=trash.pk).delete()
    return n_back, n_dropped


def _whole_back(trash: Dataset) -> int:
    try:
        with transaction.atomic():
            Dataset.objects.filter(pk=trash.pk).update(
                name=F("thrown_name"), thrown_name="", thrown_at=None, thrown_by=None
            )
    except IntegrityError:
        raise NameTakenMeanwhile(
            f"There is another data set “{trash.thrown_name}” now. Rename or delete that one, then undo."
        ) from None
    return trash.images.count()


def of(dataset: Dataset) -> DatasetQuerySet:
    """What was deleted from a data set and can still come back, the latest first; with n_images."""
    return _latest(Dataset.objects.filter(trash_of=dataset))


def whole(user: User) -> DatasetQuerySet:
    """The data sets that were deleted and can still come back, as far as this user saw them; with n_images."""
    thrown = Dataset.objects.filter(trash_of=None, thrown_at__isnull=False)
    return _latest(thrown if user.is_staff else thrown.filter(owner=user))


def empty() -> int:
    """Delete for good what has lain long enough; returns how many pictures. Runs every few minutes."""
    n_images = 0
    for trash in Dataset.objects.filter(thrown_at__lt=Now() - KEPT).order_by("pk"):
        with transaction.atomic():
            # Looked at again: it may have been put back this moment.
            kept = Dataset.objects.select_for_update(skip_locked=True)
            if kept.filter(pk=trash.pk, thrown_at__lt=Now() - KEPT).exists():
                n_images += trash.images.count()
                trash.delete()
    return n_images


def _latest(thrown: DatasetQuerySet) -> DatasetQuerySet:
    return thrown.select_related("thrown_by").with_counts().order_by("-thrown_at", "-pk")


def _hidden_name() -> str:
    return f"deleted-{uuid4().hex}"

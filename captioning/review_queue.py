"""What waits for a reviewer, in which order, and how far they have come since they sat down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from django.utils import timezone

from orchestrator.problems import Invalid

from .models import Caption, CaptionSource, Dataset, Image, ImageState, Review
from .querysets import CaptionQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST_COUNTED = 10_000  # beyond, nobody needs the exact number, and counting takes longer than reading a picture
_LATEST = 20  # verdicts that tell the pace
_LONGEST_THOUGHT = timedelta(seconds=90)  # a longer pause was a pause


@dataclass(frozen=True)
class ReviewFilter:
    """source: `human`, or the name of a provider. state: of captions; proposed where nothing is said."""

    dataset: str = ""
    perspective: str = ""
    source: str = ""
    state: str = Review.PROPOSED.value
    image: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> ReviewFilter:
        """Read a filter from an address. Raises Invalid."""
        given = {one.name: query[one.name].strip() for one in fields(cls) if query.get(one.name, "").strip()}
        if given.get("state", Review.PROPOSED) not in Review.values:
            raise Invalid(f"There is no verdict {given['state']!r}; there are {', '.join(Review.values)}.")
        if not given.get("image", "0").isdecimal() or len(given.get("image", "")) > 18:
            raise Invalid("An image is named by its number.")
        return cls(**given)

    @property
    def query(self) -> str:
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return urlencode({name: value for name, value in said.items() if value and (name, value) != _DEFAULT})


_DEFAULT = ("state", Review.PROPOSED.value)


@dataclass(frozen=True)
class Progress:
    """How far a reviewer is. n_open: at most MOST_COUNTED, `is_more` tells. seconds_left: None until a pace shows."""

    n_accepted: int
    n_rejected: int
    n_open: int
    is_more: bool
    seconds_left: float | None

    @property
    def n_done(self) -> int:
        return self.n_accepted + self.n_rejected

    @property
    def n_all(self) -> int:
        return self.n_done + self.n_open


def waiting(wanted: ReviewFilter, user: User, **within: int) -> CaptionQuerySet:
    """The captions that match, in the order of review; within: look-ups of their images' ids."""
    found = Caption.objects.current().filter(review=wanted.state)
    found = found.filter(**{f"image_id__{lookup}": pk for lookup, pk in within.items()})
    if wanted.image:
        found = found.filter(image=int(wanted.image))
    if wanted.dataset:
        # Said of the images too, or they would be walked from the data set's first one on. A subquery that is fetched
        # once tells the data set, so that an index gives its images in the order of the captions' own.
        dataset = Dataset.objects.visible_to(user).filter(name=wanted.dataset).values("pk")[:1]
        images = Image.objects.filter(dataset=dataset, **{f"id__{lookup}": pk for lookup, pk in within.items()})
        if wanted.state == Review.PROPOSED:  # an index leads to these, among however many others
            images = images.filter(state=ImageState.PROPOSED)
        found = found.filter(image__in=images)
    else:
        found = found.visible_to(user)
    if wanted.perspective:
        found = found.filter(perspective__name=wanted.perspective)
    if wanted.source == CaptionSource.HUMAN:
        found = found.filter(source=CaptionSource.HUMAN)
    elif wanted.source:
        found = found.filter(source=CaptionSource.MODEL, provider=wanted.source)
    return found.order_by("image_id", "id")


def image_ids(wanted: ReviewFilter, user: User, *, start: int = 0, before: int | None = None, n: int = 1) -> list[int]:
    """The next `n` images with something that matches: from id `start` on, or the last ones before id `before`."""
    if before is not None:
        found = waiting(wanted, user, lt=before).order_by("-image_id")
    else:
        found = waiting(wanted, user, gte=start).order_by("image_id")
    return list(found.values_list("image_id", flat=True).distinct()[:n])


def progress(wanted: ReviewFilter, user: User, since: datetime) -> Progress:
    """Count what is left, and what this user has settled since then within the same data set and perspective."""
    n_open = waiting(wanted, user).order_by()[: MOST_COUNTED + 1].count()
    mine = Caption.objects.current().filter(
        reviewed_by=user, created_at__gte=since, review__in=(Review.ACCEPTED, Review.REJECTED)
    )
    if wanted.dataset:
        mine = mine.filter(image__dataset__name=wanted.dataset)
    if wanted.perspective:
        mine = mine.filter(perspective__name=wanted.perspective)
    settled = list(mine.order_by("-created_at").values_list("review", "created_at")[:MOST_COUNTED])
    n_rejected = sum(review == Review.REJECTED for review, _ in settled)
    moments = [*(at for _, at in settled[:_LATEST]), *([since] if len(settled) < _LATEST else [])]
    gaps = [min(later - earlier, _LONGEST_THOUGHT) for later, earlier in pairwise(moments)]
    left = min(n_open, MOST_COUNTED)
    return Progress(
        n_accepted=len(settled) - n_rejected,
        n_rejected=n_rejected,
        n_open=left,
        is_more=n_open > MOST_COUNTED,
        seconds_left=left * (sum(gaps, timedelta()) / len(gaps)).total_seconds() if len(gaps) > 2 else None,
    )


def last_verdict(user: User, since: datetime) -> Caption | None:
    """What this user decided last and nobody has changed since: the one that undo takes back."""
    mine = Caption.objects.current().visible_to(user).filter(reviewed_by=user, created_at__gte=since)
    return mine.select_related("image").order_by("-created_at", "-id").first()


def began(text: str) -> datetime:
    """Read when a reviewer sat down: seconds since 1970, or now where nothing is said."""
    if text.isdecimal() and len(text) < 12:
        return datetime.fromtimestamp(int(text), UTC)
    return timezone.now()

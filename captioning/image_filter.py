"""Which pictures of a data set somebody looks for, as the address of a page says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from urllib.parse import urlencode

from django.db.models import Count, Exists, OuterRef, Q

from orchestrator.problems import Invalid

from .models import Caption, Image, ImageState, Perspective
from .querysets import ImageQuerySet

CAPTIONED = "captioned"  # in whatever state
STATES = (ImageState.NONE.value, CAPTIONED, *(state.value for state in ImageState if state != ImageState.NONE))


@dataclass(frozen=True)
class ImageFilter:
    """search: words of the captions, or a part of the path. lacks: name of a perspective. alike: has a lookalike."""

    state: str = ""
    search: str = ""
    lacks: str = ""
    alike: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> ImageFilter:
        """Read a filter from an address or a form. Raises Invalid for a state that is none."""
        state = query.get("state", "")
        if state and state not in STATES:
            raise Invalid(f"There is no state {state!r} of pictures; there are {', '.join(STATES)}.")
        return cls(
            state, query.get("search", "").strip()[:200], query.get("lacks", "").strip(), bool(query.get("alike"))
        )

    @property
    def said(self) -> dict[str, str]:
        """What is asked for, as the members of an address."""
        return {one.name: "1" if value is True else value for one in fields(self) if (value := getattr(self, one.name))}

    @property
    def query(self) -> str:
        return urlencode(self.said)

    def __bool__(self) -> bool:
        return bool(self.said)

    def apply(self, images: ImageQuerySet, *, but_state: bool = False) -> ImageQuerySet:
        """Narrow images. but_state: leave the state open, to count what there is of each."""
        if self.state and not but_state:
            images = (
                images.exclude(state=ImageState.NONE) if self.state == CAPTIONED else images.filter(state=self.state)
            )
        if self.search:
            told = Caption.objects.current().matching(self.search).values("image_id")
            images = images.filter(Q(path__icontains=self.search) | Q(pk__in=told))
        if self.lacks:
            has = Caption.objects.current().filter(
                image=OuterRef("pk"), perspective__in=Perspective.objects.filter(name=self.lacks)
            )
            images = images.filter(~Exists(has))
        if self.alike:
            groups = Image.objects.filter(look_group__isnull=False).order_by().values("look_group")
            images = images.filter(look_group__in=groups.annotate(n=Count("pk")).filter(n__gt=1).values("look_group"))
        return images

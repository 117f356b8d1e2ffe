"""Which pictures of a data set somebody looks for, as the address of a page says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Count, Exists, Max, Min, OuterRef, Q

from orchestrator.problems import Invalid

from .models import Caption, Image, ImageState, Perspective
from .querysets import ImageQuerySet, in_path

CAPTIONED = "captioned"  # in whatever state
STATES = (ImageState.NONE.value, CAPTIONED, *(state.value for state in ImageState if state != ImageState.NONE))
# Images looked through for each one listed: what fewer match is soon counted, what more match fills the list.
_LOOKED_THROUGH, _LOOKED_THROUGH_OF_A_STATE = 33, 100
_FARTHEST = 3_000  # place up to which those before it are looked through too


@dataclass(frozen=True)
class Glance:
    """Images that match a filter.

    counts: how many for each state that it may ask for, "" being any; ids: some of those in the state it does ask for.
    is_counted: whether all were counted; else there are at least so many.
    """

    counts: dict[str, int]
    ids: list[int]
    is_counted: bool = True


@dataclass(frozen=True)
class Stretch:
    """Images from one id to another."""

    first: int
    last: int


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

    def apply(self, images: ImageQuerySet, *, but_state: bool = False, within: Stretch | None = None) -> ImageQuerySet:
        """Narrow images. but_state: leave the state open, to count what there is of each. within: only these."""
        if within:
            images = images.filter(pk__gte=within.first, pk__lte=within.last)
        if self.state and not but_state:
            images = (
                images.exclude(state=ImageState.NONE) if self.state == CAPTIONED else images.filter(state=self.state)
            )
        if self.search:
            told = Caption.objects.current().matching(self.search)
            if within:  # said of the captions too, or those of all images would be fetched
                told = told.filter(image_id__gte=within.first, image_id__lte=within.last)
            images = images.filter(in_path(self.search) | Q(pk__in=told.values("image_id")))
        if self.lacks:
            has = Caption.objects.current().filter(
                image=OuterRef("pk"), perspective__in=Perspective.objects.filter(name=self.lacks)
            )
            images = images.filter(~Exists(has))
        if self.alike:
            groups = Image.objects.filter(ever_alike=True, dataset__thrown_at=None).order_by().values("look_group")
            of_several = groups.annotate(n=Count("*")).filter(n__gt=1).values("look_group")
            images = images.filter(ever_alike=True, look_group__in=of_several)
        return images

    @property
    def is_search(self) -> bool:
        """Whether more is asked for than a state, so that images have to be looked through."""
        return bool(self.search or self.lacks or self.alike)

    def glance(
        self, images: ImageQuerySet, *, offset: int = 0, n: int, known: Mapping[str, int] | None = None
    ) -> Glance:
        """Count images by state and list n that match, in order of id from offset on.

        What many have is not counted: the list would wait for that. Ask `count` for it.
        known: how many images there are of each state at all, where that is known already.
        """
        if self.is_search:
            return self._in_a_stretch(images, offset, n) or self._searched(images, offset, n)
        counts = known if known is not None else {state: count for state, count, _ in images.tally("state")}
        every = _every(counts)
        matching, n_matching = self.apply(images).values_list("pk", flat=True), every[self.state]
        if offset < n_matching / 2:
            ids = list(matching.order_by("pk")[offset : offset + n])
        else:  # an index is walked from its nearer end
            end = max(n_matching - offset, 0)
            ids = list(matching.order_by("-pk")[max(end - n, 0) : end])[::-1]
        return Glance(every, ids)

    def find(self, images: ImageQuerySet, *, offset: int = 0, n: int) -> list[int]:
        """List n images that match, in order of id from offset on."""
        if glance := self._in_a_stretch(images, offset, n):
            return glance.ids
        return list(self.apply(images).order_by("pk").values_list("pk", flat=True)[offset : offset + n])

    def count(self, images: ImageQuerySet) -> dict[str, int]:
        """Count images for each state that the filter may ask for, "" being any."""
        return self._searched(images, 0, 0).counts

    def _in_a_stretch(self, images: ImageQuerySet, offset: int, n: int) -> Glance | None:
        """Look through the first images only; None if too few of them match to fill the list."""
        if not (self.search or self.lacks) or offset > _FARTHEST:
            return None
        looked_through = _LOOKED_THROUGH_OF_A_STATE if self.state else _LOOKED_THROUGH
        n_looked = max(n * looked_through, 2 * (offset + n))
        stretch = images.order_by("pk")[:n_looked].aggregate(first=Min("pk"), last=Max("pk"), n=Count("*"))
        if not stretch["n"]:
            return Glance(_every({}), [])
        found = self._searched(images, offset, n, within=Stretch(stretch["first"], stretch["last"]))
        if stretch["n"] < n_looked:  # these are all there are
            return found
        return replace(found, is_counted=False) if found.counts[self.state] > offset + n else None

    def _searched(self, images: ImageQuerySet, offset: int, n: int, *, within: Stretch | None = None) -> Glance:
        """Look images through once, for the counts and for the ids."""
        matching = self.apply(images, but_state=True, within=within).order_by().values("pk", "state")
        try:
            sql, parameters = matching.query.sql_with_params()
        except EmptyResultSet:  # Django knows without asking that there are none
            return Glance(_every({}), [])
        is_captioned = self.state == CAPTIONED
        states = [s.value for s in ImageState if self.state in ("", s) or (is_captioned and s != ImageState.NONE)]
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                WITH matching (id, state) AS MATERIALIZED ({sql})
                SELECT
                    (SELECT json_object_agg(state, n)
                     FROM (SELECT state, count(*) AS n FROM matching GROUP BY state) AS counted),
                    ARRAY(SELECT id FROM matching WHERE state = ANY(%s) ORDER BY id OFFSET %s LIMIT %s)
                """,  # noqa: S608  # the inner query is Django's own, its values travel as parameters
                [*parameters, states, offset, n],
            )
            counts, ids = cursor.fetchone()
        return Glance(_every(counts or {}), ids)


def _every(counts: Mapping[str, int]) -> dict[str, int]:
    every = {state.value: 0 for state in ImageState} | {**counts}
    n_all = sum(every.values())
    return every | {"": n_all, CAPTIONED: n_all - every[ImageState.NONE]}

"""Which pictures of a data set somebody looks for, as the address of a page says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q

from orchestrator.problems import Invalid

from .models import Caption, Image, ImageState, Perspective
from .querysets import ImageQuerySet, in_path

CAPTIONED = "captioned"  # in whatever state
STATES = (ImageState.NONE.value, CAPTIONED, *(state.value for state in ImageState if state != ImageState.NONE))
# Images looked through for each one listed: what fewer match is soon counted, what more match fills the list.
_LOOKED_THROUGH = 33
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
        images = self._but_words(images, but_state=but_state)
        return images.filter(self._says()) if self.search else images

    def _but_words(self, images: ImageQuerySet, *, but_state: bool) -> ImageQuerySet:
        if self.state and not but_state:
            images = (
                images.exclude(state=ImageState.NONE) if self.state == CAPTIONED else images.filter(state=self.state)
            )
        if self.lacks:
            # One id, and not a set of them: its captions are read in the order of images then, as far as need be.
            perspective = Perspective.objects.filter(name=self.lacks).values("pk")[:1]
            has = Caption.objects.current().filter(image=OuterRef("pk"), perspective=perspective)
            images = images.filter(~Exists(has))
        if self.alike:
            groups = Image.objects.filter(ever_alike=True, dataset__thrown_at=None).order_by().values("look_group")
            of_several = groups.annotate(n=Count("*")).filter(n__gt=1).values("look_group")
            images = images.filter(ever_alike=True, look_group__in=of_several)
        return images

    def _says(self, among: Sequence[int] | None = None) -> Q:
        """Images that have the words. among: captions of these images only, or those of all would be fetched."""
        captions = Caption.objects.current().matching(self.search)
        if among is not None:
            captions = captions.filter(image__id__any=among)
        return in_path(self.search) | Q(pk__in=captions.values("image_id"))

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
            return self._among_the_first(images, offset, n) or self._listed(
                self.apply(images, but_state=True), offset, n
            )
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
        if glance := self._among_the_first(images, offset, n):
            return glance.ids
        return list(self.apply(images).order_by("pk").values_list("pk", flat=True)[offset : offset + n])

    def count(self, images: ImageQuerySet) -> dict[str, int]:
        """Count images for each state that the filter may ask for, "" being any."""
        return self._listed(self.apply(images, but_state=True), 0, 0).counts

    def _among_the_first(self, images: ImageQuerySet, offset: int, n: int) -> Glance | None:
        """Look for words in the first images only that may have them; None if too few of these do to fill the list."""
        if not self.search or offset > _FARTHEST:
            return None
        n_looked = max(n * _LOOKED_THROUGH, 2 * (offset + n))
        candidates = images
        # What has no caption lacks each perspective, and has words in its name only: all of it would be looked through.
        if self.lacks or self.state == ImageState.NONE:
            candidates = images.filter(in_path(self.search) | ~Q(state=ImageState.NONE))

        def first(*, but_state: bool) -> list[int]:
            """The ids of those to look through, and one more if there are more."""
            few = self._but_words(candidates, but_state=but_state).order_by("pk").values_list("pk", flat=True)
            return list(few[: n_looked + 1])

        ids = first(but_state=True)
        is_counted = are_all = len(ids) <= n_looked
        if self.state and not are_all:
            ids = first(but_state=False)
            are_all = len(ids) <= n_looked
        found = self._listed(images.filter(pk__any=ids).filter(self._says(ids)), offset, n)
        if not are_all and found.counts[self.state] <= offset + n:
            return None
        return replace(found, is_counted=is_counted)

    def _listed(self, matching: ImageQuerySet, offset: int, n: int) -> Glance:
        """Look images of any state through once, for the counts and for the ids."""
        try:
            sql, parameters = matching.order_by().values("pk", "state").query.sql_with_params()
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

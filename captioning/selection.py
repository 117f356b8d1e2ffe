"""Which images a job covers under which perspectives, page by page however many they are."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from jobs.pipelines import NewItem

from .image_filter import ImageFilter
from .models import Caption, Image

PAGE = 5_000  # images
_SPOOL_BYTES = 8 * 1024 * 1024  # kept in memory before a file is used


@dataclass(frozen=True)
class Wanted:
    """One perspective of a job.

    needs: names of perspectives that must have answered for the same image first, where this job asks them.
    skips_present: leave out images that have a current caption already.
    """

    perspective_id: int
    name: str
    version_id: int
    needs: tuple[str, ...] = ()
    skips_present: bool = False


class Selection:
    """The items of a job: all perspectives of one image, then the next image.

    Read once, when it is made, and kept as lines of a temporary file: while items are copied into the database their
    connection can answer no question, and a million images are too many to hold. May be iterated any number of times.

    wanted: in the order of need, so that an item only ever depends on items before it.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        *,
        named: Sequence[tuple[int, str]] = (),
        dataset_id: int | None = None,
        among: ImageFilter | None = None,
    ) -> None:
        self._wanted = list(wanted)
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, mode="w+", encoding="utf-8")  # noqa: SIM115
        self.n_items = 0
        self.n_images = 0
        for page in pages(named=named, dataset_id=dataset_id, among=among):
            self._write(page)

    def __iter__(self) -> Iterator[NewItem]:
        """Yield the items; their place in this order is their `seq`."""
        seq = 0
        self._spool.seek(0)
        for line in self._spool:
            image_id, path, chosen = json.loads(line)
            seq_of: dict[str, int] = {}
            for wanted in (self._wanted[index] for index in chosen):
                yield NewItem(
                    image_path=path,
                    perspective=wanted.name,
                    payload={"image": image_id, "version": wanted.version_id},
                    depends_on=[seq_of[name] for name in wanted.needs if name in seq_of],
                )
                seq_of[wanted.name] = seq
                seq += 1

    def _write(self, page: Sequence[tuple[int, str]]) -> None:
        skipping = [wanted.perspective_id for wanted in self._wanted if wanted.skips_present]
        have = present([image_id for image_id, _ in page], skipping) if skipping else set()
        for image_id, path in page:
            chosen = [
                index
                for index, wanted in enumerate(self._wanted)
                if not (wanted.skips_present and (image_id, wanted.perspective_id) in have)
            ]
            self.n_images += 1
            self.n_items += len(chosen)
            if chosen:
                self._spool.write(json.dumps([image_id, path, chosen]) + "\n")


def pages(
    *,
    named: Sequence[tuple[int, str]] = (),
    dataset_id: int | None = None,
    among: ImageFilter | None = None,
    after: int = 0,
    size: int = PAGE,
) -> Iterator[list[tuple[int, str]]]:
    """Yield (image id, path) in lists of at most `size`: the named ones in the caller's order, then the data set's.

    among: only those of the data set that match. after: go on behind this image of the data set.
    """
    entries = iter(named)
    while page := list(islice(entries, size)):
        yield page
    if dataset_id is None:
        return
    known = {image_id for image_id, _ in named}
    images = Image.objects.filter(dataset_id=dataset_id)
    if among:
        # Evaluated once, since a search of all captions costs as much for a page as for all; an id takes eight bytes.
        matching = array("q", among.apply(images).filter(id__gt=after).order_by("id").values_list("id", flat=True))
        for start in range(0, len(matching), size):
            few = Image.objects.filter(id__in=list(matching[start : start + size])).order_by("id")
            if rest := [entry for entry in few.values_list("id", "path") if entry[0] not in known]:
                yield rest
        return
    # By key and not by offset: the last page costs what the first one does.
    while page := list(images.filter(id__gt=after).order_by("id").values_list("id", "path")[:size]):
        after = page[-1][0]
        if rest := [entry for entry in page if entry[0] not in known]:
            yield rest


def present(image_ids: Sequence[int], perspective_ids: Sequence[int]) -> set[tuple[int, int]]:
    """Find which of these (image, perspective) pairs have a current caption, of whatever source."""
    return set(
        Caption.objects.current()
        .filter(image_id__in=image_ids, perspective_id__in=perspective_ids)
        .order_by()
        .values_list("image_id", "perspective_id")
    )

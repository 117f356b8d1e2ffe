"""What the engine made: files into the store, figures into rows."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from jobs.models import Job
from jobs.states import FINAL
from uploads import storage

from .models import Product, ProductKind, Region, Survey

logger = logging.getLogger(__name__)

_FOLDER = "surveys"


class ResultUnusable(Exception):
    """The engine's result does not say what was agreed."""


@dataclass(frozen=True)
class StoredFile:
    kind: ProductKind
    name: str
    filename: str
    key: str
    size: int


@dataclass(frozen=True)
class Measured:
    """A result whose files are in the store already; rows are written from it in one transaction."""

    summary: Mapping[str, Any]
    hulls: list[Mapping[str, Any]]
    files: list[StoredFile] = field(default_factory=list)


def store_files(survey: Survey, folder: Path) -> Measured:
    """Put every product into the store. May be repeated: equal bytes of one survey have the same key.

    folder: the engine's `products` with its `result.json`. Raises ResultUnusable, StoreUnavailable.
    """
    # A place of its own for each survey: what one deletes can never be what another is about to name.
    place = f"{_FOLDER}/{survey.task_id}"
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        summary, hulls, downloads = result["summary"], result["hulls"], result["downloads"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultUnusable(f"result.json: {type(error).__name__}: {error}") from error
    files = [_stored(place, folder, ProductKind.DOWNLOAD, name, filename) for name, filename in downloads.items()]
    pictures = {hull["picture"] for hull in hulls if hull.get("picture")}
    files += [_stored(place, folder, ProductKind.PICTURE, filename, filename) for filename in sorted(pictures)]
    return Measured(summary, hulls, files)


def _stored(place: str, folder: Path, kind: ProductKind, name: str, filename: str) -> StoredFile:
    path = folder / filename
    if path.parent != folder or not path.is_file():
        raise ResultUnusable(f"{name}: there is no product {filename!r}.")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        key = storage.key_of(place, digest, path.suffix)
        storage.put(key, file)
    return StoredFile(kind, name, filename, key, path.stat().st_size)


def write_rows(survey: Survey, measured: Measured) -> None:
    """Replace what was measured before, within the caller's transaction."""
    old = set(survey.products.values_list("key", flat=True))
    survey.regions.all().delete()
    survey.products.all().delete()
    products = Product.objects.bulk_create(
        Product(survey=survey, kind=file.kind, name=file.name, filename=file.filename, key=file.key, size=file.size)
        for file in measured.files
    )
    pictures = {product.name: product for product in products if product.kind == ProductKind.PICTURE}
    Region.objects.bulk_create(
        Region(
            survey=survey,
            number=number,
            region_id=str(hull["id"]),
            score=hull["score"],
            area_m2=hull["area"],
            cut_volume_m3=hull["cut_volume"],
            fill_volume_m3=hull["fill_volume"],
            net_volume_m3=hull["net_volume"],
            volume_uncertainty_m3=hull["volume_uncertainty"],
            polygon=hull["polygon"],
            picture=pictures.get(hull.get("picture") or ""),
        )
        for number, hull in enumerate(measured.hulls, start=1)
    )
    survey.summary = dict(measured.summary)
    survey.measured_at = Now()
    survey.save(update_fields=["summary", "measured_at"])
    survey.refresh_from_db(fields=["measured_at"])
    transaction.on_commit(lambda: forget(old))


def forget(keys: Iterable[str]) -> None:
    """Delete stored products that have no row any more; what the store does not let go now, the sweep tries again."""
    try:
        for key in sorted(_unnamed(keys)):
            storage.delete(key)
    except storage.StoreUnavailable as fault:
        logger.warning("products left to the sweep", extra={"error": fault.detail})


def sweep() -> None:
    """Delete stored products that no row names: of runs that were cancelled while they stored them, of a deletion that
    was cut off, of a store that was away.

    All of the products are listed, a page at a time, with one query for each.
    """
    try:
        for keys in storage.pages_of(_FOLDER):
            for task, left in groupby(sorted(_unnamed(keys)), key=_task_of):
                if task is not None:
                    _forget_of(task, list(left))
    except storage.StoreUnavailable as fault:
        logger.warning("products not swept", extra={"error": fault.detail})


def _forget_of(task: UUID, keys: list[str]) -> None:
    """Leave alone what a run that is under way is about to name.

    The store is asked within the transaction, since a new run, which may store the same bytes, needs one of the locks.
    """
    with transaction.atomic():
        survey = Survey.objects.select_for_update().filter(task_id=task).first()
        if survey is not None and survey.job_id is not None:
            ended = Job.objects.select_for_update(no_key=True).filter(pk=survey.job_id, status__in=FINAL)
            if ended.first() is None:
                return
        logger.info("products without a row", extra={"survey": str(task), "files": len(keys)})
        forget(keys)


def _unnamed(keys: Iterable[str]) -> set[str]:
    stored = set(keys)
    return stored - set(Product.objects.filter(key__in=stored).values_list("key", flat=True))


def _task_of(key: str) -> UUID | None:
    try:
        return UUID(key.split("/")[1])
    except ValueError:
        return None

"""Questions about many rows of captioning."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db import connection, models, transaction
from django.db.models import Case, Count, IntegerField, Q, Sum, Value, When
from django.db.models.functions import Lower

from orchestrator.querysets import ToldQuerySet
from uploads import storage

from . import thumbnails

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser, AnonymousUser
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

logger = logging.getLogger(__name__)

_BATCH = 200  # rows or locks in one statement


class DatasetQuerySet(ToldQuerySet):
    def visible_to(self, user: AbstractUser | AnonymousUser) -> DatasetQuerySet:
        """Own data sets; all of them for staff. A data set without an owner is staff's, what was deleted nobody's."""
        kept = self.filter(thrown_at=None)
        return kept if user.is_staff else kept.filter(owner_id=user.pk)

    def with_counts(self) -> DatasetQuerySet:
        """Give each fetched data set n_images and n_captions (current ones)."""
        return self.telling(_tell_counts)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete data sets with their images, and the files that nobody else uses once that is committed."""
        from .models import Dataset, Image

        with transaction.atomic():
            chosen = Dataset.objects.filter(pk__in=list(self.values_list("pk", flat=True)))
            Image.objects.filter(Q(dataset__in=chosen) | Q(dataset__trash_of__in=chosen)).delete()
            return super(DatasetQuerySet, chosen).delete()

    delete.alters_data = True  # type: ignore[attr-defined]  # Django: never from a template


def _tell_counts(datasets: Sequence[Any]) -> None:
    from .models import Image

    images = Image.objects.filter(dataset__in=[dataset.pk for dataset in datasets])
    counts = {pk: found for pk, *found in images.tally("dataset")}
    for dataset in datasets:
        dataset.n_images, dataset.n_captions = counts.get(dataset.pk, (0, 0))


@models.BigIntegerField.register_lookup
class AnyOf(models.Lookup):
    """id__any=[…]: thousands of ids as one parameter. `in` makes each of them a part of the statement, 20 ms for 2,000.

    The planner sees how many they are, and joins them with another index before it reads any row.
    """

    lookup_name = "any"
    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY (%s)", (*parameters, list(self.rhs))


def in_path(text: str) -> Q:
    """Images whose path has this part, in capitals or not."""
    return Q(path_lower__contains=Lower(Value(text)))


class ImageQuerySet(models.QuerySet):
    def visible_to(self, user: AbstractUser | AnonymousUser) -> ImageQuerySet:
        """Images of own data sets; all of them for staff, but for those that were deleted."""
        kept = self.filter(dataset__thrown_at=None)
        return kept if user.is_staff else kept.filter(dataset__owner_id=user.pk)

    def tally(self, column: str) -> models.QuerySet:
        """Rows of each value of a column, how many images have it, how many current captions these have."""
        return self.order_by().values_list(column).annotate(n=Count("*"), m=Sum("n_captions"))

    def lock_bytes(self, hashes: Sequence[str]) -> None:
        """Be the only one to add or remove rows and files with these sha256, until the transaction ends.

        Locks are taken in one order, so that two who want several never wait for each other.
        """
        keys = sorted({int(sha256[:15], 16) for sha256 in hashes})  # 60 of 256 bits: at worst two wait for nothing
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", [keys])

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete images with their captions, and the files that nobody else uses once that is committed."""
        from .models import Image

        total: Counter[str] = Counter()
        with transaction.atomic():
            rows = list(self.values_list("pk", "sha256", "stored_as"))
            for start in range(0, len(rows), _BATCH):
                pks = [pk for pk, _, _ in rows[start : start + _BATCH]]
                # Only the key: a batch must not bring the EXIF of every picture into memory.
                batch = Image.objects.filter(pk__in=pks).only("pk")
                total.update(super(ImageQuerySet, batch).delete()[1])
            stored = {sha256: key for _, sha256, key in rows}
            transaction.on_commit(lambda: Image.objects.release(stored))
        return total.total(), dict(total)

    delete.alters_data = True  # type: ignore[attr-defined]  # Django: never from a template

    def release(self, stored: Mapping[str, str]) -> None:
        """Remove the files (sha256 -> key) that no image names any more.

        What a crash leaves behind does no harm: the same bytes find it again.
        """
        hashes = sorted(stored)
        for start in range(0, len(hashes), _BATCH):
            batch = hashes[start : start + _BATCH]
            with transaction.atomic():
                self.lock_bytes(batch)
                used = set(self.filter(sha256__in=batch).values_list("sha256", flat=True))
                for sha256 in batch:
                    if sha256 not in used:
                        thumbnails.forget(sha256)
                        try:
                            storage.delete(stored[sha256])
                        except storage.StoreUnavailable as fault:
                            logger.warning("file left in the store", extra={"key": stored[sha256], "error": str(fault)})


class PerspectiveQuerySet(models.QuerySet):
    def usable(self) -> PerspectiveQuerySet:
        """Those that a job may ask for, with their current wording."""
        return self.filter(enabled=True, current__isnull=False).select_related("current")


class ProviderQuerySet(models.QuerySet):
    def enabled(self) -> ProviderQuerySet:
        return self.filter(is_enabled=True)

    def in_order_of_choice(self) -> ProviderQuerySet:
        """Sort as a job without a provider tries them: the oldest first, local vision after all that know language, and
        last those that failed when they were last tested."""
        from .models import ProviderKind

        turn = Case(When(last_probe__success=False, then=2), When(kind=ProviderKind.LOCAL_VISION, then=1), default=0)
        return self.order_by(turn, "id")


class CaptionQuerySet(models.QuerySet):
    def current(self) -> CaptionQuerySet:
        return self.filter(is_current=True)

    def visible_to(self, user: AbstractUser | AnonymousUser) -> CaptionQuerySet:
        """Captions of own data sets; all of them for staff, but for those of deleted images."""
        kept = self.filter(image__dataset__thrown_at=None)
        return kept if user.is_staff else kept.filter(image__dataset__owner_id=user.pk)

    def matching(self, words: str) -> CaptionQuerySet:
        """Full-text search; quotes, `or` and a leading minus work as in a web search. Uses the index caption_words."""
        vector = SearchVector("text", config="english")
        return self.annotate(words=vector).filter(words=SearchQuery(words, config="english", search_type="websearch"))

    def preferred(self) -> CaptionQuerySet:
        """One current caption for each image and perspective: accepted before proposed, human before machine, newest.

        Rejected ones never speak for an image.
        """
        from .models import CaptionSource, Review

        def rank(**condition: str) -> Case:
            return Case(When(**condition, then=Value(0)), default=Value(1), output_field=IntegerField())

        return (
            self.current()
            .exclude(review=Review.REJECTED)
            .order_by("image", "perspective", rank(review=Review.ACCEPTED), rank(source=CaptionSource.HUMAN), "-id")
            .distinct("image", "perspective")
        )

    def review(self, verdict: str, *, reason: str, by: AbstractUser) -> int:
        """Give every current caption of this set a new version with this verdict; returns how many got one.

        One statement: whoever retires a row writes its successor, so that concurrent reviewers cannot both.
        """
        chosen = self.filter(is_current=True).exclude(review=verdict, review_reason=reason).order_by().values("pk")
        sql, parameters = chosen.query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                WITH retired AS (
                    UPDATE captioning_caption SET is_current = false
                    WHERE is_current AND id IN ({sql})
                    RETURNING *
                )
                INSERT INTO captioning_caption (
                    image_id, perspective_id, perspective_version_id, source, provider, model, parameters, result,
                    text, provenance, author_id, review, review_reason, reviewed_by_id, supersedes_id
                )
                SELECT image_id, perspective_id, perspective_version_id, source, provider, model, parameters, result,
                    text, provenance, author_id, %s, %s, %s, id
                FROM retired ORDER BY id
                """,  # noqa: S608  # the inner query is Django's own, its values travel as parameters
                [*parameters, verdict, reason, by.pk],
            )
            return int(cursor.rowcount)

    def retire_for_rerun(self, provider: str, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """Retire what this provider proposed before for these (image, perspective) pairs; returns pair -> caption.

        What a person wrote or accepted stays current beside the new proposal. The images' rows are locked.
        """
        from .models import CaptionSource, Review

        wanted = set(pairs)
        images, perspectives = {image for image, _ in wanted}, {perspective for _, perspective in wanted}
        rows: Iterable[Any] = (
            self.filter(is_current=True, source=CaptionSource.MODEL, provider=provider)
            .filter(image__in=images, perspective__in=perspectives)
            .exclude(review=Review.ACCEPTED)
            .order_by("id")
            # A reviewer who is at one of them right now goes first; what is no longer current drops out here.
            .select_for_update(no_key=True)
        )
        replaced = [row for row in rows if (row.image_id, row.perspective_id) in wanted]
        self.filter(pk__in=[row.pk for row in replaced]).update(is_current=False)
        return {(row.image_id, row.perspective_id): row.pk for row in replaced}

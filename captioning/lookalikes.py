"""Pictures that look alike share a group, which is decided when a picture comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection, transaction

from . import looks

if TYPE_CHECKING:
    from .models import Image


def place(image: Image, look: int | None) -> None:
    """Keep how a picture looks, and put it among those that look like it or have the same bytes; else by itself."""
    images = type(image).objects
    bands = looks.bands(look)
    with transaction.atomic(), connection.cursor() as cursor:
        # One at a time, or two like pictures that come together would each begin a group.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('captioning.looks'))")
        cursor.execute(
            """
            SELECT COALESCE(
                (SELECT look_group FROM captioning_image
                 WHERE sha256 = %(sha256)s AND id <> %(id)s AND look_group IS NOT NULL LIMIT 1),
                (SELECT look_group FROM captioning_image
                 WHERE look_bands && %(bands)s::int[] AND id <> %(id)s
                   AND bit_count((look # %(look)s::bigint)::bit(64)) <= %(alike)s
                 ORDER BY bit_count((look # %(look)s::bigint)::bit(64)), id LIMIT 1))
            """,
            {"id": image.pk, "sha256": image.sha256, "look": look, "bands": bands, "alike": looks.ALIKE_BITS},
        )
        (group,) = cursor.fetchone()
        if group:
            alone = images.filter(look_group=group, ever_alike=False)
            # In the order that captions lock them too (ImageState's triggers).
            list((alone | images.filter(pk=image.pk)).order_by("pk").select_for_update(no_key=True).values_list("pk"))
            alone.update(ever_alike=True)
        placed = {"look": look, "look_bands": bands, "look_group": group or image.pk, "ever_alike": bool(group)}
        images.filter(pk=image.pk).update(**placed)
    for column, value in placed.items():
        setattr(image, column, value)

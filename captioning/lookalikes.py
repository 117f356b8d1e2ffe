"""Pictures that look alike share a group, which is decided when a picture comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection, transaction

from . import looks

if TYPE_CHECKING:
    from .models import Image


def place(image: Image, look: int | None) -> None:
    """Keep how a picture looks, and put it among those that look like it or have the same bytes; else by itself."""
    bands = looks.bands(look)
    with transaction.atomic(), connection.cursor() as cursor:
        # One at a time, or two like pictures that come together would each begin a group.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('captioning.looks'))")
        cursor.execute(
            """
            UPDATE captioning_image SET look = %(look)s, look_bands = %(bands)s, look_group = COALESCE(
                (SELECT look_group FROM captioning_image
                 WHERE sha256 = %(sha256)s AND id <> %(id)s AND look_group IS NOT NULL LIMIT 1),
                (SELECT look_group FROM captioning_image
                 WHERE look_bands && %(bands)s::int[] AND id <> %(id)s
                   AND bit_count((look # %(look)s::bigint)::bit(64)) <= %(alike)s
                 ORDER BY bit_count((look # %(look)s::bigint)::bit(64)), id LIMIT 1),
                id)
            WHERE id = %(id)s
            RETURNING look_group
            """,
            {"id": image.pk, "sha256": image.sha256, "look": look, "bands": bands, "alike": looks.ALIKE_BITS},
        )
        image.look, image.look_bands = look, bands
        found = cursor.fetchone()
        image.look_group = found[0] if found else None

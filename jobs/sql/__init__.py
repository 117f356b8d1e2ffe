"""The queue's hot statements, one file each, run on Django's own connection and inside its transactions."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection

_FOLDER = Path(__file__).parent


@cache
def _text(name: str) -> bytes:
    return (_FOLDER / f"{name}.sql").read_bytes()


def rows(name: str, parameters: Mapping[str, Any] | Sequence[Any] = ()) -> list[Any]:
    """Run `<name>.sql` and return its rows as tuples.

    Parameters are bound by the server and the statement is prepared: planning STEP anew each time would cost more
    than running it. Behind a connection pooler (DATABASE_DIRECT_URL differs) nothing is prepared.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors:
        raw: psycopg.Connection[Any] = connection.connection
        if settings.DATABASE_DIRECT_URL == settings.DATABASE_URL:
            raw.prepare_threshold = 3
        with psycopg.Cursor(raw) as cursor:
            cursor.execute(_text(name), parameters or None)
            return cursor.fetchall() if cursor.description else []

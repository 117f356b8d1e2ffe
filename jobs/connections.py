"""Connections for threads that are no request: past the pooler, and back to the pool."""

from typing import Any

import psycopg
from django.conf import settings
from django.db import connection

from orchestrator import env

# A machine that vanished says no goodbye; this notices within half a minute.
_ALIVE = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def direct(application_name: str) -> psycopg.Connection[Any]:
    """Open a connection that stays one session, as LISTEN and session locks need it: autocommit, outside any pool."""
    address = env.database(settings.DATABASE_DIRECT_URL, "DATABASE_DIRECT_URL")
    options = address["OPTIONS"]
    assert isinstance(options, dict)
    return psycopg.connect(
        autocommit=True,
        application_name=application_name,
        dbname=address["NAME"],
        user=address["USER"] or None,
        password=address["PASSWORD"] or None,
        host=address["HOST"] or None,
        port=address["PORT"] or None,
        **(_ALIVE | options),
    )


def release() -> None:
    """Give this thread's connection back to the pool, where there is one: it is small and meant for requests."""
    if "pool" in connection.settings_dict["OPTIONS"]:
        connection.close()

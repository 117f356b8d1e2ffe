"""Connections for threads that are no request: past the pooler, and back to the pool."""

from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.conninfo import make_conninfo

from orchestrator import env

# A machine that vanished says no goodbye; this notices within half a minute.
_ALIVE = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def direct(application_name: str) -> psycopg.Connection[Any]:
    """Open a connection that stays one session, as LISTEN and session locks need it: autocommit, outside any pool."""
    given = env.connection_parameters(settings.DATABASE_DIRECT_URL, "DATABASE_DIRECT_URL")
    parameters = _ALIVE | given | {"application_name": application_name}
    return psycopg.connect(make_conninfo(**parameters), autocommit=True)


def release() -> None:
    """Give this thread's connection back to the pool, where there is one: it is small and meant for requests."""
    if "pool" in connection.settings_dict["OPTIONS"]:
        connection.close()

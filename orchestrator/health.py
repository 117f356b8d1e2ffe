"""Whether the desk and each of its parts are well.

A part is a function that an app registers under a name; it answers `{status, …}` and may raise, which is `unhealthy`.
"""

from __future__ import annotations

import logging
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import django
import psycopg
from django.conf import settings
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from . import openapi
from .access import HasAccess
from .disk import Disk
from .problems import NotFound

logger = logging.getLogger(__name__)

HEALTHY = "healthy"
DEGRADED = "degraded"
UNHEALTHY = "unhealthy"
_CONNECT_SECONDS = 2

Check = Callable[[], Mapping[str, Any]]
_checks: dict[str, Check] = {}
# The desk answers nothing without its database; without any other part it still does a part of its work.
_VITAL = frozenset({"database"})


def register(name: str, check: Check) -> None:
    """Add a part. check: answers `{"status": HEALTHY | DEGRADED | UNHEALTHY, …}`; called for every look."""
    _checks[name] = check


def services() -> dict[str, Mapping[str, Any]]:
    """Look at every part. Those that need the database are not asked while it is away."""
    found = {"database": _look("database")}
    is_database_away = found["database"]["status"] == UNHEALTHY
    for name in _checks:
        if name not in found:
            found[name] = _AWAY if is_database_away and name not in _WITHOUT_DATABASE else _look(name)
    return found


def overall(found: Mapping[str, Mapping[str, Any]]) -> str:
    if any(found[name]["status"] == UNHEALTHY for name in _VITAL):
        return UNHEALTHY
    return HEALTHY if all(part["status"] == HEALTHY for part in found.values()) else DEGRADED


def _look(name: str) -> Mapping[str, Any]:
    try:
        return _checks[name]()
    except Exception as error:  # whatever is wrong with a part is its state, not a fault of this page
        logger.warning("health check failed", extra={"part": name, "error": f"{type(error).__name__}: {error}"})
        return {"status": UNHEALTHY, "error": type(error).__name__}


_WITHOUT_DATABASE = frozenset({"cache", "storage"})
_AWAY: Mapping[str, Any] = {"status": UNHEALTHY, "error": "the database is away"}


# --- The parts that every desk has


def _database() -> Mapping[str, Any]:
    """Ask through a connection of its own: waiting for one of the pool would take as long as the outage."""
    parameters = connection.get_connection_params() | {"connect_timeout": _CONNECT_SECONDS}
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    started = time.perf_counter()
    with psycopg.connect(**parameters) as own:
        own.execute("SELECT 1")
    return {"status": HEALTHY, "latency_ms": round((time.perf_counter() - started) * 1000, 1)}


def _cache() -> Mapping[str, Any]:
    key = f"health-{uuid4().hex}"
    cache.set(key, key, 5)
    is_kept = cache.get(key) == key
    cache.delete(key)
    return {"status": HEALTHY if is_kept else UNHEALTHY}


def _storage() -> Mapping[str, Any]:
    """Write and remove a small file where images and results go, and where temporary ones do; see what room is left."""
    with tempfile.TemporaryFile(dir=settings.VAR_DIR) as file:
        file.write(b"well")
        file.flush()
    store = storages["probe"]
    store.delete(store.save(f"health/{uuid4().hex}", ContentFile(b"well")))
    disk = Disk.look()
    return {"status": DEGRADED if disk.is_nearly_full else HEALTHY, "free_bytes": disk.free}


register("database", _database)
register("cache", _cache)
register("storage", _storage)


# --- Views

_REPORT = OpenApiResponse(openapi.ANY_OBJECT, "State of the desk and of its parts")


class _OpenToAll(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)


class Health(_OpenToAll):
    @extend_schema(responses={200: _REPORT, 503: _REPORT}, tags=["Operations"], auth=[])
    def get(self, request: Request) -> Response:
        """Say how the desk is: 200 when healthy or degraded, 503 when unhealthy."""
        found = services()
        return _answer(
            overall(found),
            timestamp=_now(),
            version=settings.VERSION,
            services={name: _public(part) for name, part in found.items()},
        )


class HealthLive(_OpenToAll):
    @extend_schema(responses={200: _REPORT}, tags=["Operations"], auth=[])
    def get(self, request: Request) -> Response:
        """Say that this process answers; it looks at nothing else."""
        return _answer(HEALTHY, timestamp=_now())


class HealthReady(_OpenToAll):
    @extend_schema(responses={200: _REPORT, 503: _REPORT}, tags=["Operations"], auth=[])
    def get(self, request: Request) -> Response:
        """Say whether this process can serve requests: its database answers."""
        database = _look("database")
        return _answer(str(database["status"]), timestamp=_now())


class HealthDatabase(_OpenToAll):
    @extend_schema(responses={200: _REPORT, 503: _REPORT}, tags=["Operations"], auth=[])
    def get(self, request: Request) -> Response:
        """Say whether the database answers, and how fast."""
        database = _look("database")
        return _answer(**{"timestamp": _now(), **database})


class HealthService(_OpenToAll):
    @extend_schema(
        parameters=[OpenApiParameter("name", str, OpenApiParameter.PATH, description="Name of a part, as in /health")],
        responses={200: _REPORT, 503: _REPORT},
        tags=["Operations"],
        auth=[],
    )
    def get(self, request: Request, name: str) -> Response:
        """Say how one part is."""
        if name not in _checks:
            raise NotFound(f"There is no part {name!r}; there are {', '.join(sorted(_checks))}.")
        return _answer(**{"name": name, "timestamp": _now(), **_public(_look(name))})


class HealthDetailed(APIView):
    permission_classes = (HasAccess,)

    @extend_schema(responses={200: _REPORT, 503: _REPORT}, tags=["Operations"])
    def get(self, request: Request) -> Response:
        """Say how every part is, with versions and limits."""
        found = services()
        return _answer(
            overall(found),
            timestamp=_now(),
            version=settings.VERSION,
            services=found,
            versions={
                "python": platform.python_version(),
                "django": django.get_version(),
                "postgresql": _postgresql_version() if found["database"]["status"] != UNHEALTHY else None,
            },
            access=settings.API_ACCESS,
            limits={
                "max_concurrent_jobs": settings.MAX_CONCURRENT_JOBS,
                "max_concurrent_heavy_jobs": settings.MAX_CONCURRENT_HEAVY_JOBS,
                "max_concurrent_items": settings.MAX_CONCURRENT_ITEMS,
            },
        )


def _answer(status: str, **members: Any) -> Response:
    return Response({"status": status, **members}, status=503 if status == UNHEALTHY else 200)


def _public(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what only operators should read."""
    return {name: value for name, value in part.items() if name != "error"}


def _postgresql_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return str(cursor.fetchone()[0])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

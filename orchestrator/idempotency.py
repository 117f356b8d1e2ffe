"""Idempotency keys: a POST that is sent again within a day gets the first answer and creates nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import IdempotencyKey
from .problems import Conflict, Invalid

HEADER = "Idempotency-Key"
LIFETIME = timedelta(hours=24)
_MAX_LENGTH = 255
_PURGE_STEP = 100
_CHUNK_BYTES = 64 * 1024

Handler = Callable[..., Response]


class KeyReused(Conflict):
    """Idempotency key of another request"""


class StillInProgress(Conflict):
    """Request with this key is in progress"""


def idempotent(handler: Handler) -> Handler:
    """Let clients repeat a creating POST of an API view safely by sending an Idempotency-Key.

    The handler runs in one transaction with the row that remembers its answer, so that a crash loses both or neither;
    a refusal is not remembered. What the handler creates outside the database it must be able to create twice.
    """

    @wraps(handler)
    def with_key(view: APIView, request: Request, *args: Any, **kwargs: Any) -> Response:
        key = request.headers.get(HEADER)
        if key is None:
            return handler(view, request, *args, **kwargs)
        if not 1 <= len(key) <= _MAX_LENGTH or not key.isascii() or not key.isprintable():
            raise Invalid(f"{HEADER} must be 1 to {_MAX_LENGTH} printable ASCII characters.")
        digest = _digest(request)
        with transaction.atomic():
            return _answer_once(key, digest, request, lambda: handler(view, request, *args, **kwargs))

    return with_key


def _answer_once(key: str, digest: str, request: Request, answer: Callable[[], Response]) -> Response:
    owner = {"user_id": request.user.pk, "route": f"{request.method} {request._request.path_info}", "key": key}
    # Held until the commit. A statement of its own, so that the next one sees what the previous holder committed.
    if not _try_lock(f"idempotency {owner}"):
        raise StillInProgress("The first request with this key is still being answered; try again.", retry_after=1)
    _purge()
    known = IdempotencyKey.objects.filter(**owner, created_at__gt=Now() - LIFETIME).first()
    if known is None:
        response = answer()
        if response.status_code >= 400:
            transaction.set_rollback(True)
            return response
        remembered = {"data": json.loads(JSONRenderer().render(response.data)), "location": response.get("Location")}
        IdempotencyKey.objects.filter(**owner).delete()
        IdempotencyKey.objects.create(**owner, body_digest=digest, status=response.status_code, response=remembered)
        return response
    if known.body_digest != digest:
        raise KeyReused("This key came with another body before; use a new key for a new request.")
    told: dict[str, Any] = known.response or {}
    response = Response(told["data"], status=known.status, headers={"Idempotency-Replayed": "true"})
    if told["location"]:
        response["Location"] = told["location"]
    return response


def _digest(request: Request) -> str:
    """Hash what the client asks for: the query, and the body by its meaning, so that spaces do not matter."""
    digest = hashlib.sha256(request._request.META.get("QUERY_STRING", "").encode())
    fields = request.data
    if hasattr(fields, "lists"):  # a form: its files by content
        fields = {name: values for name, values in fields.lists() if name not in request.FILES}
    digest.update(json.dumps(fields, sort_keys=True).encode())
    for name, files in request.FILES.lists():
        for file in files:
            digest.update(f"\0{name}\0{file.name}\0".encode())
            for chunk in file.chunks(_CHUNK_BYTES):
                digest.update(chunk)
            file.seek(0)
    return digest.hexdigest()


def _try_lock(name: str) -> bool:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])


def _purge() -> None:
    """Forget some of what is over a day old: whoever uses keys also clears them away."""
    old = IdempotencyKey.objects.filter(created_at__lte=Now() - LIFETIME).order_by("created_at")
    IdempotencyKey.objects.filter(
        pk__in=old.select_for_update(skip_locked=True).values_list("pk", flat=True)[:_PURGE_STEP]
    ).delete()

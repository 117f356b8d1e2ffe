"""One request for the upload service, and its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import format_datetime
from typing import Any

from . import intake
from .models import Upload
from .protocol import Headers

Receive = Callable[[], Awaitable[dict[str, Any]]]


@dataclass
class Request:
    """One request for the service. base: scheme and host as the client sees them."""

    method: str
    path: str
    headers: Headers
    base: str
    receive: Receive

    def address_of(self, upload: Upload) -> str:
        return f"{self.base}{intake.PATH}/{upload.pk}"


@dataclass
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def expiry_of(upload: Upload) -> dict[str, str]:
    """Say in the headers of an answer when the upload ends that gets no byte from now on."""
    if upload.expires_at is None:
        return {}
    return {"Upload-Expires": format_datetime(upload.expires_at.astimezone(UTC), usegmt=True)}

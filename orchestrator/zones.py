"""Times of the administration in the viewer's time zone; pages of the desk write their times by times.js."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.utils import timezone

from orchestrator.middleware import Middleware

COOKIE = "zone"  # an IANA name; times.js knows it from the browser


class ZoneMiddleware(Middleware):
    """Reads and writes times below /admin in the zone that the browser named, else in UTC, as the API always does."""

    def around(self, request: HttpRequest) -> AbstractContextManager[None]:
        name = request.COOKIES.get(COOKIE, "")
        if not name or not request.path.startswith("/admin/"):
            return nullcontext()
        try:
            return timezone.override(ZoneInfo(name))
        except (ValueError, OSError, LookupError):  # no such zone here, or no name of any
            return nullcontext()

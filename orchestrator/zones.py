"""Times of the administration in the viewer's time zone; pages of the desk write their times by times.js."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from zoneinfo import ZoneInfo

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

COOKIE = "zone"  # an IANA name; times.js knows it from the browser


class ZoneMiddleware:
    """Reads and writes times below /admin in the zone that the browser named, else in UTC, as the API always does."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if self._is_async:
            return self._async(request)
        with _zone_of(request):
            response: HttpResponse = self.get_response(request)
            return response

    async def _async(self, request: HttpRequest) -> HttpResponse:
        with _zone_of(request):
            response: HttpResponse = await self.get_response(request)
            return response


def _zone_of(request: HttpRequest) -> AbstractContextManager[None]:
    name = request.COOKIES.get(COOKIE, "")
    if not name or not request.path.startswith("/admin/"):
        return nullcontext()
    try:
        return timezone.override(ZoneInfo(name))
    except (ValueError, OSError, LookupError):  # no such zone here, or no name of any
        return nullcontext()

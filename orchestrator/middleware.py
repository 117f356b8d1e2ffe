"""What every middleware of the desk has in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

GetResponse = Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]


class Middleware:
    """One step before and one after the view; works in a sync and in an async chain, so it costs no change of thread.

    Neither step may block: under ASGI both run on the event loop.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        if self._is_async:
            return self._call_async(request)
        with self.around(request):
            return self.before(request) or self.after(request, self.get_response(request))  # type: ignore[arg-type]

    async def _call_async(self, request: HttpRequest) -> HttpResponse:
        with self.around(request):
            return self.before(request) or self.after(request, await self.get_response(request))  # type: ignore[misc]

    def around(self, request: HttpRequest) -> AbstractContextManager[None]:
        """Hold something for as long as the request is worked on; it follows the request from thread to thread."""
        return nullcontext()

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Look at the request; an answer given here spares the view."""
        return None

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        return response

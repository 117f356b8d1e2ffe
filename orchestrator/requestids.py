"""One id for everything that a request sets off: replies, log lines, jobs, events and calls to others carry it."""

import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-ID"
_SAFE = re.compile(r"[A-Za-z0-9._-]{8,64}")
_current: ContextVar[str] = ContextVar("request_id", default="")


def current() -> str:
    """Return the id of the request or slice that is being worked on; empty outside of any."""
    return _current.get()


def accept(candidate: str | None) -> str:
    """Take a caller's id if it is 8 to 64 safe characters, else make one."""
    return candidate if candidate and _SAFE.fullmatch(candidate) else uuid.uuid4().hex


@contextmanager
def carrying(request_id: str) -> Iterator[None]:
    """Work under this id, as a worker does for the request that created its job."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


class RequestIdMiddleware:
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
        with carrying(accept(request.headers.get(HEADER))):
            response: HttpResponse = self.get_response(request)
            response.headers[HEADER] = current()
            return response

    async def _async(self, request: HttpRequest) -> HttpResponse:
        with carrying(accept(request.headers.get(HEADER))):
            response: HttpResponse = await self.get_response(request)
            response.headers[HEADER] = current()
            return response

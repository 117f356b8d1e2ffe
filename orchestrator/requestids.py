"""One id for everything that a request sets off: replies, log lines, jobs, events and calls to others carry it."""

import re
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

from orchestrator.middleware import Middleware

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


class RequestIdMiddleware(Middleware):
    def around(self, request: HttpRequest) -> AbstractContextManager[None]:
        return carrying(accept(request.headers.get(HEADER)))

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response.headers[HEADER] = current()
        return response

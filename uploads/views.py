"""What the web process answers for signed links."""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_safe

from orchestrator.problems import Problem

from . import links, storage

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class RangeNotSatisfiable(Problem):
    """The file has no such range"""

    status = 416

    def __init__(self, detail: str, *, size: int) -> None:
        super().__init__(detail)
        self._size = size

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | {"Content-Range": f"bytes */{self._size}"}


@require_safe
def stored(request: HttpRequest, token: str, filename: str) -> HttpResponseBase:
    """Send a stored file, or one range of it, in pieces; the link itself is the permission."""
    key, name = links.opened(token)
    size = storage.size(key)
    span = _span(request.headers.get("Range", ""), size)
    start, end = span or (0, size)
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse()
    else:
        response = StreamingHttpResponse(storage.Stream(key, start=start, end=end))
    response.status_code = 206 if span else 200
    for header, value in _headers(name).items():
        response[header] = value
    response["Content-Length"] = str(end - start)
    if span:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return response


def _headers(filename: str) -> dict[str, str]:
    media_type, disposition = links.presentation(filename)
    return {
        "Content-Type": media_type,
        "Content-Disposition": disposition,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
        # The link is the permission, so a page of another origin may use it, as with a store's own links.
        "Access-Control-Allow-Origin": "*",
        "Referrer-Policy": "no-referrer",
    }


def _span(header: str, size: int) -> tuple[int, int] | None:
    """Read a Range header as first byte and the one behind the last; None for the whole file, also where the header
    asks for several ranges or says something else. Raises RangeNotSatisfiable."""
    asked = _RANGE.fullmatch(header.replace(" ", ""))
    if asked is None or not any(asked.groups()):
        return None
    first, last = asked.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", size=size)
    return start, end

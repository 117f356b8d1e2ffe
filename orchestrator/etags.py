"""Conditional GETs: an ETag over the state that an answer shows, and 304 for whoever has it already."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.http import HttpResponse
from django.utils.cache import get_conditional_response, patch_cache_control
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class ConditionalView(APIView):
    """A view whose GETs carry an ETag: the one that the handler set, else the hash of the body."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if request.method in {"GET", "HEAD"} and response.status_code == 200 and isinstance(response, Response):
            # What is shown depends on who asks: shared caches keep nothing, and a client asks again each time.
            patch_cache_control(response, private=True, no_cache=True)
            response.add_post_render_callback(lambda rendered: _spare(request, rendered))
        return response


def of(value: Any) -> str:
    """Make the ETag of a JSON value; leave out what changes by itself."""
    return _quoted(json.dumps(value, default=str).encode())


def _spare(request: Request, response: HttpResponse) -> HttpResponse | None:
    if not response.has_header("ETag"):
        response["ETag"] = _quoted(response.content)
    return get_conditional_response(request, etag=response["ETag"], response=response)


def _quoted(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'

"""What requests carry, of which every value can be stored: JSON objects, and the addresses and forms of pages."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import IO, Any, NoReturn

from django.http import HttpRequest, HttpResponse
from rest_framework.parsers import BaseParser

from . import problems
from .middleware import Middleware
from .problems import Invalid
from .texts import is_storable

_MAX_DEPTH = 64


class LenientJSONParser(BaseParser):
    """Lenient about an absent body (whatever Content-Type says), strict about what a body holds.

    Refuses with 400 what would fail later as a bug: NUL characters and lone surrogates, which no text column takes;
    NaN and infinities, which are no JSON; nesting that exhausts a recursion.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        # Read through Django's request, which enforces DATA_UPLOAD_MAX_MEMORY_SIZE; the bare stream does not.
        request = getattr((parser_context or {}).get("request"), "_request", None)
        return json_object(request.body if request is not None else stream.read())


class StorableMiddleware(Middleware):
    """Refuse addresses and forms of pages with text that cannot be stored; JSON bodies are checked as they are parsed.

    Only of views that ask for a CSRF token, which has the form read already: others take their body as it streams in.
    """

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        if getattr(view, "csrf_exempt", False):
            return None
        fields = [*request.GET.lists(), *request.POST.lists()]
        if all(is_storable(text) for name, values in fields for text in (name, *values)):
            return None
        return problems.page_400(request, Invalid("Text may not contain NUL characters; leave them out and try again."))


def json_object(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object; nothing at all is an empty one. Raises Invalid."""
    if not raw.strip():
        return {}
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid("The body must be JSON in UTF-8.") from None
    value = json_value(text)
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    return value


def json_value(text: str, *, called: str = "The body") -> Any:
    """Parse JSON of any kind. called: how a refusal names it. Raises Invalid."""
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_refuse_constant)
    except RecursionError:
        raise Invalid(f"{called} is nested deeper than {_MAX_DEPTH} levels.") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"{called} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except ValueError as error:  # a number with thousands of digits
        raise Invalid(f"{called} is not usable JSON: {error}") from None
    _check(value, called)
    return value


def _check(value: Any, called: str) -> None:
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        entry, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise Invalid(f"{called} is nested deeper than {_MAX_DEPTH} levels.")
        if isinstance(entry, dict):
            pending += [(key, depth + 1) for key in entry] + [(inner, depth + 1) for inner in entry.values()]
        elif isinstance(entry, list):
            pending += [(inner, depth + 1) for inner in entry]
        elif isinstance(entry, str) and not is_storable(entry):
            raise Invalid("Text may not contain NUL characters or lone surrogates.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number.")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number.")

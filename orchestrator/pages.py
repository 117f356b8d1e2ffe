"""Lists in pages: what a client may ask of a list, and how a page of it is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from .problems import Invalid, flatten
from .texts import is_storable

DEFAULT_LIMIT = 20
MAX_LIMIT = 500
_MAX_OFFSET = 2**31 - 1


class Query(serializers.Serializer):
    """Query parameters of one route. Declare them in either spelling; clients may use both.

    A parameter that is not declared is refused: a misspelt filter would silently show everything.
    """

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """Read and check the parameters of a request. Raises Invalid with the messages of each."""
        names: list[str] = list(cls().get_fields())
        declared = {_spelling(name): name for name in names}
        given: dict[str, str] = {}
        errors: dict[str, list[str]] = {}
        for name in request.query_params:
            known = declared.get(_spelling(name))
            values = request.query_params.getlist(name)
            if known is None:
                errors[name] = ["There is no such parameter here."]
            elif known in given or len(values) > 1:
                errors[name] = ["Give this once."]
            elif not is_storable(values[0]):
                errors[name] = ["Text may not contain NUL characters."]
            else:
                given[known] = values[0]
        query = cls(data=given)
        if not query.is_valid():
            errors |= flatten(query.errors)
        if errors:
            raise Invalid(" ".join(f"{name}: {' '.join(texts)}" for name, texts in errors.items()), errors=errors)
        return query.validated_data


class Window(Query):
    """Part of a list by its distance from the start."""

    limit = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT)
    offset = serializers.IntegerField(min_value=0, max_value=_MAX_OFFSET, default=0)


def page(
    queryset: QuerySet | Sequence[Any],
    query: dict[str, Any],
    *,
    key: str,
    render: Callable[[Iterable[Any]], list[Any]],
    total: int | None = None,
) -> Response:
    """Answer `{<key>: [...], total, offset, limit}`.

    query: the checked parameters, with `limit` and `offset`. total: where counting the rows asked for would be slow
    because they carry more than is counted.
    """
    offset, limit = query["offset"], query["limit"]
    if total is None:
        total = queryset.count() if isinstance(queryset, QuerySet) else len(queryset)
    rows = queryset[offset : offset + limit] if offset < total else []
    return Response({key: render(rows), "total": total, "offset": offset, "limit": limit})


class FlagField(serializers.BooleanField):
    """Yes or no in a query string; nothing else, and an empty value is not a no."""

    def to_internal_value(self, value: Any) -> bool:
        if value in ("true", "True", "1", "yes"):
            return True
        if value in ("false", "False", "0", "no"):
            return False
        raise serializers.ValidationError("Say true or false.")


def _spelling(name: str) -> str:
    """Reduce camelCase and snake_case to one form."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()

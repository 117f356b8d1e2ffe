"""Bodies are read with the types that the description names."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from rest_framework import serializers

from orchestrator import bodies
from orchestrator.problems import Invalid


class Inner(serializers.Serializer):
    flag = serializers.BooleanField(required=False)


class Form(serializers.Serializer):
    text = serializers.CharField(required=False)
    count = serializers.IntegerField(required=False)
    flag = serializers.BooleanField(required=False)
    id = serializers.UUIDField(required=False)
    kind = serializers.ChoiceField(["a", "1"], required=False)
    names = serializers.ListField(child=serializers.CharField(), required=False)
    inner = Inner(required=False)


def read(body: Any) -> dict[str, Any]:
    return bodies.read(SimpleNamespace(data=body), Form)  # type: ignore[arg-type]


def test_right_types_pass():
    body = {"text": "12", "count": 3, "flag": False, "names": ["a"], "inner": {"flag": True}, "kind": "a"}

    assert read(body) == body
    assert read({"id": "00000000-0000-4000-8000-000000000000"})["id"] == UUID("00000000-0000-4000-8000-000000000000")
    assert read({"count": 3.0})["count"] == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": 12}, "text"), ({"count": "3"}, "count"), ({"count": True}, "count"), ({"count": 3.5}, "count"),
        ({"flag": 0}, "flag"), ({"flag": "true"}, "flag"), ({"id": False}, "id"), ({"id": 7}, "id"),
        ({"kind": 1}, "kind"), ({"names": [1]}, "names.0"), ({"inner": {"flag": "no"}}, "inner.flag"),
    ],
)  # fmt: skip
def test_wrong_types_are_named(body, field):
    with pytest.raises(Invalid) as refused:
        read(body)

    assert field in refused.value.errors

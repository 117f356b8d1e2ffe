"""Reading a model's words as the object that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from json_repair import repair_json

from captioning.gateway.schema import is_echo, violations

# The greedy middle keeps fences inside string values out of the way.
_FENCED = re.compile(r"^\s*```[\w-]*\s*\n(?P<inside>.*)\n?```\s*$", re.DOTALL)
_MOST_REPAIRED = 20_000  # characters; repairing takes the square of the length, minutes for a hundred thousand
_THINKING = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, understood or not.

    result: None where it does not fit the schema; errors then says why, in words for the model.
    repaired: the text itself was not clean JSON.
    is_json: there was an object in it at all, fitting or not.
    """

    result: dict[str, Any] | None
    errors: list[str]
    repaired: bool = False
    is_json: bool = False


def read_answer(text: str, schema: Mapping[str, Any]) -> Answer:
    """Take the object out of a model's text and hold it against the schema.

    Tolerated and reported as `repaired`: code fences, thinking in front, talk around the object, broken JSON, one
    wrapper around the object. Never tolerated: a schema in place of an answer, missing or additional fields.
    """
    plain = _THINKING.sub("", text).strip()
    fenced = _FENCED.match(plain)
    plain = fenced["inside"].strip() if fenced else plain
    clean = plain == text.strip()
    try:
        value = json.loads(plain, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value, clean = _repaired(plain), False
    if value in ("", [], {}) or not isinstance(value, (dict, list)):
        return Answer(None, ["The answer holds no JSON object."])

    first_errors: list[str] = []
    for candidate in _candidates(value):
        if is_echo(candidate):
            echo = "The answer is the schema itself; fill it in with what the picture shows."
            return Answer(None, [echo], repaired=not clean, is_json=True)
        errors = violations(candidate, schema) or _unstorable(candidate)
        if not errors:
            return Answer(candidate, [], repaired=not (clean and candidate is value), is_json=True)
        first_errors = first_errors or errors
    return Answer(None, first_errors or ["The answer is a list, not one object."], repaired=not clean, is_json=True)


def _repaired(text: str) -> Any:
    if len(text) > _MOST_REPAIRED:
        return ""
    try:
        return repair_json(text, return_objects=True, skip_json_loads=True)
    except (ValueError, RecursionError):  # it knows no way either
        return ""


def _candidates(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the object, then what a single wrapper around it holds."""
    if isinstance(value, list):
        objects = [entry for entry in value if isinstance(entry, dict)]
        if len(objects) == 1:
            yield objects[0]
        return
    yield value
    if len(value) == 1:
        (inner,) = value.values()
        if isinstance(inner, dict):
            yield inner
    elif value.get("type") == "object" and isinstance(value.get("properties"), dict):
        yield value["properties"]


def _unstorable(candidate: dict[str, Any]) -> list[str]:
    """Name what JSON Schema lets through and a database does not."""
    try:
        text = json.dumps(candidate, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError:
        return ["The answer holds an infinite number or half of a surrogate pair."]
    return ["The answer holds a zero character."] if "\\u0000" in text else []


def _refuse_constant(word: str) -> float:
    # NaN and Infinity are no JSON, and PostgreSQL's jsonb refuses them later and less clearly.
    raise ValueError(word)

"""A form for the answer of a caption, made from the schema of its perspective; and the answer from what was typed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.parsers import json_value
from orchestrator.problems import Invalid

from .models import Caption

PREFIX = "field-"  # of the names in the form, so that no field can be taken for one of the form's own


@dataclass(frozen=True)
class FormField:
    """kind: text, lines (a list of texts, one a line), number, truth, or json for what has parts."""

    name: str
    kind: str
    description: str
    value: str

    @property
    def key(self) -> str:
        return PREFIX + self.name

    @property
    def n_rows(self) -> int:
        longest = 90  # characters that fit in a line
        lines = sum(1 + len(line) // longest for line in self.value.split("\n"))
        return max(2, min(14, lines + 1))


def fields_of(caption: Caption, typed: Mapping[str, str] | None = None) -> list[FormField]:
    """List the fields of a caption. typed: what somebody typed into such a form before, to show it again."""
    found = []
    for asked in caption.perspective_version.schema_fields:
        name, kind = asked["name"], _kind_of(asked)
        value = _written(kind, caption.result.get(name)) if typed is None else typed.get(PREFIX + name, "")
        found.append(FormField(name, kind, asked.get("description", ""), value))
    return found


def result_of(caption: Caption, typed: Mapping[str, str]) -> dict[str, Any]:
    """Read the answer that somebody typed. Raises Invalid with the fields that cannot be read."""
    result, errors = dict(caption.result), {}
    for field in fields_of(caption, typed):
        try:
            result[field.name] = _read(field.kind, field.value)
        except ValueError as fault:
            errors[field.name] = [str(fault)]
    if errors:
        raise Invalid(
            " ".join(f"{name}: {' '.join(said)}" for name, said in errors.items()),
            errors=errors,
        )
    return result


def _kind_of(asked: Mapping[str, Any]) -> str:
    kind = "dict" if asked.get("fields") else asked.get("type")
    if asked.get("is_list"):
        return "lines" if kind == "str" else "json"
    return {"str": "text", "int": "number", "float": "number", "bool": "truth"}.get(str(kind), "json")


def _written(kind: str, value: Any) -> str:
    if kind == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    if kind == "truth":
        return "true" if value else ""
    if kind == "lines" and isinstance(value, list):
        return "\n".join(str(entry) for entry in value)
    return "" if value is None else str(value)


def _read(kind: str, text: str) -> Any:
    if kind == "truth":
        return bool(text)
    if kind == "lines":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if kind == "text":
        return text.replace("\r\n", "\n").strip()
    if kind == "number":
        if not text.strip():
            return None
        try:
            number = int(text) if "." not in text and "e" not in text.lower() else float(text)
        except ValueError:
            raise ValueError(f"{text[:100]!r} is no number.") from None
        if not math.isfinite(number):
            raise ValueError(f"{text[:100]!r} is too large a number.")
        return number
    try:
        return json_value(text, called="This")
    except Invalid as refusal:
        raise ValueError(refusal.detail) from None

"""The JSON Schema of a perspective's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError as BrokenSchema

_SCALARS = {
    "str": "string",
    "string": "string",
    "float": "number",
    "number": "number",
    "int": "integer",
    "integer": "integer",
    "bool": "boolean",
    "boolean": "boolean",
}
_OBJECTS = frozenset({"dict", "object"})
_MAX_DEPTH = 5  # the deepest nesting that strict decoders promise to follow
_MAX_ERRORS = 8  # more would only confuse the model that has to correct them
_TYPE_WORDS = frozenset({"type", "$ref", "anyOf", "enum"})


class InvalidSchema(ValueError):
    """The fields of a perspective do not describe an answer."""


def schema_from_fields(fields: Sequence[Mapping[str, Any]], *, title: str = "") -> dict[str, Any]:
    """Turn a perspective's `schema_fields` into a JSON Schema in strict form.

    Strict form: every property is required and nothing else is allowed, so that a server can enforce it while decoding.
    Order is kept, since reasoning fields come before the caption they lead to.
    A `dict` without `fields` stays open (any names, text values); such a schema is not strict, see `is_strict`.
    Raises InvalidSchema naming the field.
    """
    schema = _object(fields, where="schema_fields", depth=1)
    return {"title": title, **schema} if title else schema


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise InvalidSchema unless this is a valid JSON Schema of an object."""
    try:
        Draft202012Validator.check_schema(schema)
    except BrokenSchema as error:
        raise InvalidSchema(f"Not a valid JSON Schema at {error.json_path}: {error.message}") from None
    if schema.get("type") != "object":
        raise InvalidSchema('The answer must be an object: say "type": "object" at the top of the schema.')


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Tell whether a server may be asked to enforce this schema exactly."""
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        return (
            schema.get("additionalProperties") is False
            and set(schema.get("required", ())) == set(properties)
            and all(is_strict(inner) for inner in properties.values())
        )
    if schema.get("type") == "array":
        return isinstance(schema.get("items"), Mapping) and is_strict(schema["items"])
    return True


def violations(answer: Any, schema: Mapping[str, Any]) -> list[str]:
    """Say in words where an answer leaves its schema; empty when it fits."""
    errors = sorted(Draft202012Validator(schema).iter_errors(answer), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message[:300]}" for error in errors[:_MAX_ERRORS]]


def is_echo(answer: Any) -> bool:
    """Tell whether the model handed back a schema in place of an answer, as small models do."""
    if not isinstance(answer, Mapping) or answer.get("type") != "object":
        return False
    properties = answer.get("properties")
    if not isinstance(properties, Mapping) or not properties:
        return False
    return all(isinstance(value, Mapping) and _TYPE_WORDS & value.keys() for value in properties.values())


def _object(fields: Sequence[Mapping[str, Any]], *, where: str, depth: int) -> dict[str, Any]:
    if not isinstance(fields, (list, tuple)) or not fields:
        raise InvalidSchema(f"{where} must be a list with at least one field.")
    if depth > _MAX_DEPTH:
        raise InvalidSchema(f"{where} is nested deeper than {_MAX_DEPTH} levels.")
    properties: dict[str, Any] = {}
    for index, entry in enumerate(fields):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not name.strip():
            raise InvalidSchema(f"{where}[{index}] has no name.")
        if name in properties:
            raise InvalidSchema(f"{where} names {name} twice.")
        properties[name] = _property(entry, where=f"{where}.{name}", depth=depth)
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _property(entry: Mapping[str, Any], *, where: str, depth: int) -> dict[str, Any]:
    inner = entry.get("fields")
    kind = entry.get("type", "dict" if inner else "str")
    # Named parts make an object, whatever its type is called; `is_complex` without parts says nothing to ask for.
    if inner:
        value = _object(inner, where=where, depth=depth + 1)
    elif not isinstance(kind, str):
        raise InvalidSchema(f"{where} has an object as its type; give its parts in `fields`.")
    elif kind in _SCALARS:
        value = {"type": _SCALARS[kind]}
    elif kind in _OBJECTS:
        value = {"type": "object", "additionalProperties": {"type": "string"}}
    else:
        known = ", ".join(sorted({*_SCALARS, *_OBJECTS}))
        raise InvalidSchema(f"{where} has the unknown type {kind!r}; use one of {known}, and `is_list` for lists.")
    if entry.get("is_list"):
        value = {"type": "array", "items": value}
    description = entry.get("description")
    return {**value, "description": description} if description else value

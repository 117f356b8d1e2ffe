"""A perspective as a JSON document: what may stand in it, and what is wrong with one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from .gateway import InvalidSchema, schema_from_fields
from .models import NAME_PATTERN, PerspectiveType
from .wording import PLACEHOLDER

# Words that the routes and pages below perspectives use themselves.
RESERVED_NAMES = frozenset({"batch", "modules", "caption-from-path", "new", "check"})
TYPES = ("str", "float", "int", "bool", "dict")
MAX_FIELDS = 64
MAX_DEPTH = 5  # as deep as strict decoders promise to follow
MAX_PROMPT = 20_000

# What a version keeps, with the value of an absent member.
VERSIONED: dict[str, Any] = {
    "type": PerspectiveType.PERSPECTIVE.value,
    "display_name": "",
    "description": "",
    "prompt": "",
    "schema_fields": [],
    "table_columns": [],
    "context_template": "",
    "tags": [],
    "priority": 100,
    "deprecated": False,
    "replacement": None,
    "builds_on": [],
    "local_vision": {},
}
_READ_ONLY = frozenset({"id", "version", "createdAt"})
KNOWN = frozenset({*VERSIONED, *_READ_ONLY, "name", "module", "enabled"})
_FIELD_MEMBERS = frozenset({"name", "type", "description", "is_list", "is_complex", "fields"})
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

Errors = dict[str, list[str]]


def versioned(document: Mapping[str, Any]) -> dict[str, Any]:
    """Take the members that a version keeps, absent ones by their default."""
    return {name: document.get(name, default) for name, default in VERSIONED.items()}


def check(document: Mapping[str, Any]) -> Errors:
    """List what is wrong with a whole document, by the path of the member; empty when nothing is.

    Whether the perspectives it builds on exist is the store's question, not the document's.
    """
    errors: Errors = defaultdict(list)
    for member in sorted(set(document) - KNOWN):
        errors[member].append("A perspective has no such member.")
    _check_name(document.get("name"), errors)
    for member, longest in (("display_name", 200), ("prompt", MAX_PROMPT)):
        _check_text(document, member, errors, longest=longest, required=True)
    for member, longest in (("description", 2000), ("context_template", MAX_PROMPT), ("module", 64)):
        _check_text(document, member, errors, longest=longest, required=False)
    if document.get("replacement") is not None:
        _check_text(document, "replacement", errors, longest=64, required=False)
    for member in ("deprecated", "enabled"):
        if not isinstance(document.get(member, False), bool):
            errors[member].append("Give true or false.")
    priority = document.get("priority", 100)
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 100_000:
        errors["priority"].append("Give a whole number from 0 to 100000; lower sorts first.")
    if document.get("type", PerspectiveType.PERSPECTIVE) not in PerspectiveType.values:
        errors["type"].append(f"Give one of {', '.join(PerspectiveType.values)}.")
    for member in ("tags", "builds_on"):
        _check_names(document.get(member, []), member, errors)
    if document.get("name") in _list(document.get("builds_on")):
        errors["builds_on"].append("A perspective cannot build on itself.")
    if not isinstance(document.get("local_vision", {}), dict):
        errors["local_vision"].append("Give an object: field name to evidence.")
    _check_columns(document.get("table_columns", []), errors)
    _check_fields(document.get("schema_fields"), errors, where="schema_fields", depth=1)
    if not any(path.startswith("schema_fields") for path in errors):
        _check_meaning(document, errors)
    return dict(errors)


def _check_name(name: Any, errors: Errors) -> None:
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        errors["name"].append("Give 1 to 64 letters, digits, _ or -.")
    elif name in RESERVED_NAMES:
        errors["name"].append(f"{name!r} is the name of a route; choose another.")


def _check_text(document: Mapping[str, Any], member: str, errors: Errors, *, longest: int, required: bool) -> None:
    value = document.get(member, "")
    if not isinstance(value, str):
        errors[member].append("Give text.")
    elif required and not value.strip():
        errors[member].append("This must not be empty.")
    elif len(value) > longest:
        errors[member].append(f"At most {longest} characters; these are {len(value)}.")
    elif "\x00" in value:
        errors[member].append("Text cannot hold null characters.")


def _check_names(value: Any, member: str, errors: Errors) -> None:
    if not isinstance(value, list) or not all(isinstance(entry, str) and entry.strip() for entry in value):
        errors[member].append("Give a list of names.")
    elif len(set(value)) < len(value):
        errors[member].append("A name stands here twice.")


def _check_columns(columns: Any, errors: Errors) -> None:
    if not isinstance(columns, list):
        errors["table_columns"].append("Give a list of {name, style}.")
        return
    for index, column in enumerate(columns):
        if not isinstance(column, dict) or not all(isinstance(column.get(key), str) for key in ("name", "style")):
            errors[f"table_columns[{index}]"].append("Give {name, style}, both text.")


def _check_fields(fields: Any, errors: Errors, *, where: str, depth: int) -> None:
    if not isinstance(fields, list) or not fields:
        errors[where].append("Give a list with at least one field.")
        return
    if len(fields) > MAX_FIELDS:
        errors[where].append(f"At most {MAX_FIELDS} fields; these are {len(fields)}.")
        return
    if depth > MAX_DEPTH:
        errors[where].append(f"Fields are nested deeper than {MAX_DEPTH} levels.")
        return
    seen: set[str] = set()
    for index, field in enumerate(fields):
        path = f"{where}[{index}]"
        if not isinstance(field, dict):
            errors[path].append("A field is an object: {name, type, description}.")
            continue
        name = field.get("name")
        if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
            errors[f"{path}.name"].append("Give letters, digits and _, not starting with a digit; at most 64.")
        elif name in seen:
            errors[f"{path}.name"].append(f"There is already a field {name!r} here.")
        else:
            seen.add(name)
        _check_field(field, errors, path=path, depth=depth)


def _check_field(field: Mapping[str, Any], errors: Errors, *, path: str, depth: int) -> None:
    for member in sorted(set(field) - _FIELD_MEMBERS):
        errors[f"{path}.{member}"].append("A field has no such member.")
    inner = field.get("fields")
    kind = field.get("type", "dict" if inner else None)
    if isinstance(kind, Mapping):
        errors[f"{path}.type"].append("An object cannot be a type here; give its parts in `fields` and the type dict.")
    elif kind not in TYPES:
        errors[f"{path}.type"].append(f"Give one of {', '.join(TYPES)}; lists are said by is_list.")
    if not isinstance(field.get("description", ""), str):
        errors[f"{path}.description"].append("Give text.")
    for member in ("is_list", "is_complex"):
        if not isinstance(field.get(member, False), bool):
            errors[f"{path}.{member}"].append("Give true or false.")
    if inner is not None:
        _check_fields(inner, errors, where=f"{path}.fields", depth=depth + 1)
    elif field.get("is_complex") is True and kind != "dict":
        errors[f"{path}.fields"].append("A complex field needs its parts in `fields`.")


def _check_meaning(document: Mapping[str, Any], errors: Errors) -> None:
    """Look at what holds between members, once each of them is well-formed."""
    names = {field["name"] for field in document["schema_fields"]}
    template = document.get("context_template", "")
    if isinstance(template, str):
        # A placeholder that no field fills would stand in every caption that is handed on.
        for placeholder in sorted(set(PLACEHOLDER.findall(template)) - names):
            errors["context_template"].append(f"{{{placeholder}}} is not one of the fields.")
    for field in sorted(set(document.get("local_vision") or {}) - names if not errors.get("local_vision") else []):
        errors["local_vision"].append(f"{field} is not one of the fields.")
    try:
        schema_from_fields(document["schema_fields"])
    except InvalidSchema as error:
        errors["schema_fields"].append(str(error))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

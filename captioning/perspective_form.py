"""A perspective as a form: what was typed, as the document that the library takes, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.parsers import json_value
from orchestrator.problems import Invalid

from . import documents
from .documents import Errors
from .gateway import InvalidSchema, schema_from_fields

if TYPE_CHECKING:
    from django.http import QueryDict

# Member -> what is written into an empty form.
_JSON: dict[str, Any] = {
    "schema_fields": [{"name": "caption", "type": "str", "description": "One sentence on what the picture shows."}],
    "table_columns": [],
    "local_vision": {},
}
_TEXTS = ("name", "display_name", "description", "module", "prompt", "context_template", "type", "replacement")
_LISTS = ("tags", "builds_on")


def typed_of(document: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the inputs of a form say for a document; without one, for a new perspective."""
    document = document or {
        "module": "default",
        "type": "perspective",
        "context_template": "{caption}",
        "priority": 100,
    }
    typed: dict[str, Any] = {name: document.get(name) or "" for name in _TEXTS}
    typed |= {name: ", ".join(document.get(name) or ()) for name in _LISTS}
    typed |= {
        name: json.dumps(document.get(name) or default, indent=2, ensure_ascii=False) for name, default in _JSON.items()
    }
    return typed | {"priority": str(document.get("priority", 100)), "enabled": bool(document.get("enabled", True))}


def read(typed: QueryDict) -> tuple[dict[str, Any], Errors]:
    """Read a document from a form; errors by member, as far as it could not be read."""
    errors: Errors = {}
    document: dict[str, Any] = {
        name: typed.get(name, "").replace("\r\n", "\n").strip() for name in _TEXTS if name in typed
    }
    document["replacement"] = document.get("replacement") or None
    document["module"] = document.get("module") or "default"
    for name in _LISTS:
        document[name] = [word.strip() for word in typed.get(name, "").split(",") if word.strip()]
    for name in _JSON:
        text = typed.get(name, "").strip()
        try:
            document[name] = json_value(text, called="This") if text else ({} if name == "local_vision" else [])
        except Invalid as refusal:
            errors[name] = [refusal.detail]
    try:
        document["priority"] = int(typed.get("priority", "").strip() or 100)
    except ValueError:
        errors["priority"] = ["Give a whole number."]
    document["enabled"] = bool(typed.get("enabled"))
    return document, errors


def check(typed: QueryDict) -> tuple[dict[str, Any], Errors]:
    """Read a document and list everything that is wrong with it, the unreadable members first."""
    document, unreadable = read(typed)
    found = documents.check(document)
    return document, unreadable | {name: said for name, said in found.items() if name not in unreadable}


def json_schema(document: Mapping[str, Any]) -> str:
    """The JSON schema that models are given for an answer; empty where the fields make none."""
    try:
        return json.dumps(schema_from_fields(document["schema_fields"]), indent=2, ensure_ascii=False)
    except (InvalidSchema, KeyError, TypeError, AttributeError):
        return ""

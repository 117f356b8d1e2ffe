"""The description of the API: how its operations are named, how refusals look at every route."""

from __future__ import annotations

import inspect
import re
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes

from .problems import MEDIA_TYPE

ANY_OBJECT = OpenApiTypes.OBJECT

_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "A refusal (RFC 9457). Members that belong to one kind of refusal ride along.",
    "required": [
        "type", "title", "status", "detail", "instance", "request_id", "error", "error_code", "timestamp",
    ],
    "properties": {
        "type": {"type": "string", "description": "The kind of refusal"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do"},
        "instance": {"type": "string", "description": "The path that was asked"},
        "request_id": {"type": "string", "description": "The same as in X-Request-ID and in the log"},
        "error": {"type": "string", "description": "The same text as `detail`"},
        "error_code": {"type": "string", "description": "The kind of refusal in snake_case"},
        "timestamp": {"type": "string", "format": "date-time"},
        "errors": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
            "description": "Messages by field, for invalid input",
        },
    },
}  # fmt: skip

_REFUSALS = {
    "400": "Invalid input",
    "401": "Not logged in",
    "403": "Not allowed",
    "404": "Not found, or somebody else's",
    "409": "Conflict with the present state",
    "413": "Too large",
    "415": "Unsupported media type",
    "429": "Too many requests",
    "503": "Not available at the moment",
}
_WITH_BODY = frozenset({"post", "put", "patch"})


def add_refusals(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Describe at every operation the refusals that it can answer with."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = _PROBLEM
    for path, operations in result.get("paths", {}).items():
        for method, operation in operations.items():
            for status in _possible(path, method, operation):
                operation["responses"].setdefault(
                    status,
                    {
                        "description": _REFUSALS[status],
                        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    },
                )
    return result


def _possible(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    statuses = ["400", "503"]
    if operation.get("security"):
        statuses += ["401", "403"]
    if "{" in path or method in _WITH_BODY:  # a body may name what is not there, too
        statuses.append("404")
    if method in _WITH_BODY:
        statuses += ["409", "413", "415"]
    elif method == "delete":
        statuses.append("409")
    return statuses


class DeskSchema(AutoSchema):
    """Names an operation after its method and path, which no other has; a docstring's first line is the summary."""

    def get_operation_id(self) -> str:
        words = re.findall(r"[A-Za-z0-9]+", self.path.removeprefix("/api/"))
        return "_".join([self.method.lower(), *words])

    def get_summary(self) -> str:
        return self.get_description().partition("\n")[0].rstrip(".")

    def get_description(self) -> str:  # type: ignore[override]  # spectacular's form of it
        """Read the handler's own docstring; that of a base class would describe nothing."""
        return inspect.getdoc(getattr(self.view, self.method.lower())) or ""

    def _map_serializer_field(self, field: Any, direction: Any, bypass_extensions: bool = False) -> Any:
        schema = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        # Any value includes null; said twice, a null would match both and so, by `oneOf`, neither.
        if schema and schema.get("oneOf") == [{}, {"type": "null"}]:
            del schema["oneOf"]
        return schema


class DeskAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "orchestrator.access.DeskAuthentication"
    name = ["session", "bearer"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "apiKey", "in": "cookie", "name": "sessionid"},
            {"type": "http", "scheme": "bearer"},
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]  # either of them is enough

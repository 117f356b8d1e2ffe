"""Reading a JSON body by a serializer that describes it, exactly as described."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from .problems import Invalid, flatten


def read(request: Request, form: type[serializers.Serializer], *, partial: bool = False) -> dict[str, Any]:
    """Check a body and return its values. Raises Invalid with the messages of each field.

    partial: fields may be left out, as in a PATCH.

    DRF's fields are made for forms and take `0` for false, `12` for text and `false` for a UUID; JSON has types of its
    own, the description promises them, and a client that mixes them up wants to hear of it.
    """
    checked = form(data=request.data, partial=partial)
    errors = _wrong_types(checked, request.data)
    if not checked.is_valid():
        errors = flatten(checked.errors) | errors
    if errors:
        raise Invalid(" ".join(f"{name}: {' '.join(texts)}" for name, texts in errors.items()), errors=errors)
    return checked.validated_data


def _wrong_types(form: serializers.Serializer, values: Any, prefix: str = "") -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    if isinstance(values, dict):
        for name, field in form.fields.items():
            if values.get(name) is not None:
                errors |= _wrong_type(field, values[name], prefix + name)
    return errors


def _wrong_type(field: Any, value: Any, name: str) -> dict[str, list[str]]:
    match field:
        case serializers.Serializer():
            return _wrong_types(field, value, name + ".")
        case serializers.ListField() if isinstance(value, list):
            errors: dict[str, list[str]] = {}
            for number, entry in enumerate(value):
                errors |= _wrong_type(field.child, entry, f"{name}.{number}")
            return errors
        case serializers.BooleanField():
            return {} if isinstance(value, bool) else {name: ["Must be true or false."]}
        case serializers.IntegerField():
            is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return {} if is_whole and not isinstance(value, bool) else {name: ["Must be a whole number."]}
        case serializers.CharField() | serializers.UUIDField() | serializers.ChoiceField():
            return {} if isinstance(value, str) else {name: ["Must be text."]}
    return {}

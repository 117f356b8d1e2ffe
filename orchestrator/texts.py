"""Text that a column of PostgreSQL takes: no NUL character, no half of a surrogate pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_storable(text: str) -> bool:
    """Tell whether a text column takes this."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def storable(value: Any) -> Any:
    """Leave out of all texts in a JSON value what no text column takes."""
    match value:
        case str():
            return value.replace("\0", "").encode("utf-8", "ignore").decode()
        case Mapping():
            return {storable(key): storable(member) for key, member in value.items()}
        case list() | tuple():
            return [storable(member) for member in value]
    return value

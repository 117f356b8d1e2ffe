"""Turn a structured answer into words: for search, for plain captions, and as context of a synthesizer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LONGEST_TEXT = 100_000  # characters; the index of words takes no text of a megabyte
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def render(template: str, result: Mapping[str, Any]) -> str:
    """Fill a context template; a field that was left empty leaves nothing behind."""
    return PLACEHOLDER.sub(lambda match: _words(result.get(match[1])), template).strip()


def text_of(template: str, result: Mapping[str, Any]) -> str:
    """Write an answer as text: by its perspective's template, else its fields line by line; cut at LONGEST_TEXT."""
    if template:
        return render(template, result)[:LONGEST_TEXT]
    return "\n".join(words for value in result.values() if (words := _words(value)))[:LONGEST_TEXT]


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return " ".join(words for inner in value.values() if (words := _words(inner)))
    if isinstance(value, (list, tuple)):
        return ", ".join(words for inner in value if (words := _words(inner)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

"""What changed between two wordings, word by word."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

_TOKENS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_TOKENS = 4_000  # beyond, comparing takes seconds; such texts are shown as wholly replaced


@dataclass(frozen=True)
class Part:
    kind: Literal["same", "gone", "new"]
    text: str


def between(old: str, new: str) -> list[Part]:
    """Cut two texts into what stayed, what went and what came; joined without the gone ones they are `new`."""
    if old == new:
        return [Part("same", new)] if new else []
    before, after = _TOKENS.findall(old), _TOKENS.findall(new)
    if max(len(before), len(after)) > _MOST_TOKENS:
        return [part for part in (Part("gone", old), Part("new", new)) if part.text]
    parts = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(Part("same", "".join(after[j1:j2])))
            continue
        parts += [Part("gone", "".join(before[i1:i2]))] if i2 > i1 else []
        parts += [Part("new", "".join(after[j1:j2]))] if j2 > j1 else []
    return parts


def between_documents(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Part]:
    """Compare two JSON objects as they are read, one member a line."""
    return between(*(json.dumps(one, indent=2, ensure_ascii=False, default=str) for one in (old, new)))

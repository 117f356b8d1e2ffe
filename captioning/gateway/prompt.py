"""The words of a request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from captioning.gateway.request import CaptionRequest, Mode

_LONGEST_QUOTE = 8_000  # characters of a failed answer that go back to the model


def assemble(request: CaptionRequest, *, mode: Mode, schema_in_prompt: bool) -> str:
    """Put context, perspective and, where the mode needs it, the schema into one text."""
    parts = [_context_block(request.global_context, request.context), request.prompt.strip()]
    if request.schema is not None and (schema_in_prompt or mode in (Mode.JSON_OBJECT, Mode.PROMPT)):
        parts.append(_schema_hint(request.schema))
    return "\n\n".join(part for part in parts if part)


def repair_words(answer: str, errors: Sequence[str], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the two messages that show the model its answer and what is wrong with it."""
    listed = "\n".join(f"- {error}" for error in errors)
    return [
        {"role": "assistant", "content": answer[:_LONGEST_QUOTE] or "(no answer)"},
        {"role": "user", "content": f"That answer does not fit:\n{listed}\n\n{_schema_hint(schema)}"},
    ]


def _context_block(global_context: str, context: Sequence[str]) -> str:
    # Earlier captions may hold anything, closing tags too; escaped, they cannot step out of their element.
    lines = [f"<global_context>{escape(global_context.strip())}</global_context>"] if global_context.strip() else []
    lines += [f"<context_item>{escape(entry.strip())}</context_item>" for entry in context if entry.strip()]
    return "\n".join(["<context>", *lines, "</context>"]) if lines else ""


def _schema_hint(schema: Mapping[str, Any]) -> str:
    return (
        "Answer with one JSON object and nothing else: no code fence, no comment. "
        "Give values, not the schema. The object must be valid against this JSON Schema:\n"
        f"{json.dumps(schema, ensure_ascii=False)}"
    )

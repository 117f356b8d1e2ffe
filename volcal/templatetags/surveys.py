"""How pages of surveys write volumes, stages and the status of a task."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from orchestrator.templatetags.desk import icon

register = template.Library()

MINUS = "\u2212"

_STAGES: dict[str, Any] = {
    "load": _("Read the files"),
    "align": _("Align the clouds"),
    "compare": _("Compare point by point"),
    "measure": _("Measure regions"),
    "publish": _("Write maps and report"),
}
# A task's status in the shapes and colours of the desk's own states.
_SHAPES = {"done": "completed", "error": "failed", "killed": "cancelled"}


@register.simple_tag
def task_state(status: str) -> SafeString:
    shape = _SHAPES.get(status, status)
    return format_html('<span class="state state-{}">{} {}</span>', shape, icon(f"state-{shape}"), status)


@register.filter
def stage_title(name: str) -> Any:
    return _STAGES.get(name, name)


@register.filter
def volume(cubic_metres: float | None) -> str:
    """Write cubic metres with as many digits as say something: 12 733, 101.9, 4.22."""
    if cubic_metres is None:
        return ""
    size = abs(cubic_metres)
    digits = 0 if size >= 1000 else 1 if size >= 10 else 2
    text = f"{size:,.{digits}f}".replace(",", "\u202f")  # a narrow space that does not break
    return f"{MINUS}{text}" if cubic_metres < 0 and float(f"{size:.{digits}f}") else text


@register.filter
def lookup(mapping: dict[Any, Any], key: Any) -> Any:
    return mapping.get(key, "")

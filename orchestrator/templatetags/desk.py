"""How pages write states, times, durations and amounts: once, the same everywhere."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def icon(name: str) -> SafeString:
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("desk/icons.svg"), name
    )


@register.simple_tag
def state(status: str, paused: bool = False, archived: bool = False) -> SafeString:
    """Write a state as a word, a shape and a colour."""
    shown = "archived" if archived else "paused" if paused else status
    return format_html('<span class="state state-{}">{} {}</span>', shown, icon(f"state-{shown}"), shown)


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """Write how long ago something was; the exact time shows on hover."""
    if moment is None:
        return "never"
    seconds = (timezone.now() - moment).total_seconds()
    words = f"in {duration(-seconds)}" if seconds < -1 else f"{_roughly(seconds)} ago" if seconds >= 1 else "now"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        date_format(timezone.localtime(moment), "j M Y, H:i:s e"),
        words,
    )


@register.filter
def duration(seconds: float | timedelta | None) -> str:
    """Write a time span: 800 ms, 12 s, 1m02, 3h05, 2 d."""
    if seconds is None:
        return ""
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}" if hours < 48 else f"{hours // 24} d"


@register.filter
def milliseconds(value: int | None) -> str:
    return "" if value is None else duration(value / 1000) if value >= 1000 else f"{value} ms"


@register.filter
def usd(amount: Decimal | None) -> str:
    """Write an amount of money; nothing where nobody knows it."""
    if amount is None:
        return ""
    return f"${amount:.2f}" if amount >= Decimal("0.01") or amount == 0 else f"${amount:.5f}"


@register.filter
def shortened(identifier: object) -> str:
    """Write a long id by its beginning and end."""
    text = str(identifier)
    return text if len(text) <= 13 else f"{text[:6]}…{text[-4:]}"


@register.filter
def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


@register.filter
def get(mapping: dict[str, Any], key: str) -> Any:
    return mapping.get(key)


def _roughly(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"

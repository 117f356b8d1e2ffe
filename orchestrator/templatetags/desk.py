"""How pages write states, times, durations and amounts: once, the same everywhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy

from orchestrator import roles

register = template.Library()


@register.simple_tag
@cache
def icon(name: str) -> SafeString:
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>', static("desk/icons.svg"), name
    )


@register.simple_tag
def state(status: str, paused: bool = False, archived: bool = False) -> SafeString:
    """Write a state as a word, a shape and a colour."""
    shown = "archived" if archived else "paused" if paused else status
    return _state(shown, str(STATES.get(shown, shown)))


@cache
def _state(shown: str, word: str) -> SafeString:
    return format_html('<span class="state state-{}">{} {}</span>', shown, icon(f"state-{shown}"), word)


STATES = {
    "waiting": pgettext_lazy("state", "waiting"),
    "pending": pgettext_lazy("state", "pending"),
    "running": pgettext_lazy("state", "running"),
    "paused": pgettext_lazy("state", "paused"),
    "completed": pgettext_lazy("state", "completed"),
    "partial": pgettext_lazy("state", "partial"),
    "failed": pgettext_lazy("state", "failed"),
    "cancelled": pgettext_lazy("state", "cancelled"),
    "archived": pgettext_lazy("state", "archived"),
}


@register.filter
def ago(moment: datetime | None) -> SafeString | str:
    """Write how long ago something was; the exact time shows on hover, and in the viewer's zone by times.js."""
    if moment is None:
        return gettext("never")
    seconds = (timezone.now() - moment).total_seconds()
    if seconds < -1:
        words = gettext("in %s") % duration(-seconds)
    else:
        words = gettext("%s ago") % _roughly(seconds) if seconds >= 1 else gettext("now")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        f"{moment.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC",
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
def may(user: Any, permission: str) -> bool:
    """Whether buttons for this make sense to a user (orchestrator/roles.py)."""
    return roles.may(user, permission)


@register.filter
def get(mapping: dict[str, Any], key: str) -> Any:
    return mapping.get(key)


def _roughly(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"

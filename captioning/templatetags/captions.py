"""What pages show of captions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from captioning.models import Caption, Image, ImageState, ModelCall, Review
from jobs.models import Job, JobItem
from jobs.states import EventType
from orchestrator.templatetags.desk import icon

register = template.Library()

_EVENTS_READ = 24
# State of a picture or caption -> its shape, of those that states of jobs have.
_SHAPES = {
    "none": "waiting",
    "captioned": "partial",
    "proposed": "pending",
    "rejected": "failed",
    "accepted": "completed",
}
_WORDS = {
    ImageState.NONE: gettext_lazy("no caption"),
    "captioned": gettext_lazy("captioned"),
    Review.PROPOSED: gettext_lazy("to review"),
    Review.REJECTED: gettext_lazy("rejected"),
    Review.ACCEPTED: gettext_lazy("accepted"),
}


@dataclass(frozen=True)
class Received:
    """What is kept of the answers to one item.

    raw_text: the model's words in its first turn; evidence: what local vision filled each field with.
    """

    calls: list[ModelCall]
    raw_text: str | None
    is_repaired: bool
    evidence: Mapping[str, str]

    @property
    def evidence_text(self) -> str:
        return json.dumps(self.evidence, indent=2, ensure_ascii=False)


@dataclass(frozen=True)
class Box:
    """A rectangle on a picture, in its pixels. kind: `object`, or `text` that was read."""

    label: str
    kind: str
    x: float
    y: float
    width: float
    height: float


@register.simple_tag
def latest_captions(job: Job, n: int = 12) -> list[Caption]:
    """The captions that this job wrote last, newest first. Its last events name the items, however many it has."""
    events = job.events.filter(type=EventType.JOB_ITEM_COMPLETED, sequence__isnull=False).order_by("-sequence")
    items = [entry["itemId"] for event in events[:_EVENTS_READ] for entry in reversed(event.data["items"])][:n]
    captions = Caption.objects.filter(item__in=items).select_related("image", "perspective", "perspective_version")
    by_item = {caption.item_id: caption for caption in captions}
    return [by_item[item] for item in items if item in by_item]


@register.simple_tag
def received(item: JobItem) -> Received:
    """Every call that was made for an item, and what the provider answered where a caption came of it."""
    caption = Caption.objects.filter(item=item).first()
    provenance = caption.provenance if caption else {}
    return Received(
        calls=list(ModelCall.objects.filter(item=item).order_by("pk")),
        raw_text=provenance.get("raw_text"),
        is_repaired=bool(provenance.get("repaired")),
        evidence=provenance.get("fields", {}),
    )


@register.simple_tag
def image_state(state: str, *, in_words: bool = True) -> SafeString:
    """Write how far a picture or caption is as a shape, a colour and a word, which only screen readers may need."""
    return _mark(state, state_word(state), in_words)


@cache
def _mark(state: str, word: str, in_words: bool) -> SafeString:
    return format_html(
        '<span class="state state-{} mark-{}" title="{}">{}<span{}>{}</span></span>',
        _SHAPES[state],
        state,
        word,
        icon(f"state-{_SHAPES[state]}"),
        "" if in_words else SafeString(' class="visually-hidden"'),
        word,
    )


@register.filter
def state_word(state: str) -> str:
    return str(_WORDS[state])


@register.filter
def roughly(seconds: float) -> str:
    """Write how long something may take, as people say it."""
    minutes = round(seconds / 60)
    if minutes < 90:
        return ngettext("%(n)s minute", "%(n)s minutes", minutes) % {"n": minutes}
    hours = round(minutes / 60)
    return ngettext("%(n)s hour", "%(n)s hours", hours) % {"n": hours}


@register.filter
def title(caption: Caption) -> str:
    return caption.perspective_version.display_name or caption.perspective.name


@register.filter
def boxes(caption: Caption) -> list[Box]:
    """List the rectangles that an answer names.

    They are entries of any field with `box` {left, top, right, bottom}, as shares of the picture's width and height.
    """
    width, height = caption.image.width, caption.image.height
    return [
        Box(
            label=str(entry.get("name") or entry.get("string") or ""),
            kind="text" if "string" in entry else "object",
            x=round(box["left"] * width, 1),
            y=round(box["top"] * height, 1),
            width=round((box["right"] - box["left"]) * width, 1),
            height=round((box["bottom"] - box["top"]) * height, 1),
        )
        for value in caption.result.values()
        if isinstance(value, list)
        for entry in value
        if isinstance(entry, Mapping) and _is_box(entry.get("box"))
        for box in [entry["box"]]
    ]


def _is_box(value: object) -> bool:
    """Models behind an API answer as they like, so a picture must not depend on their form."""
    return isinstance(value, Mapping) and all(
        isinstance(value.get(side), (int, float)) for side in ("left", "top", "right", "bottom")
    )


@register.filter
def fields(caption: Caption) -> list[tuple[str, Any]]:
    """List the answered fields in the order in which the perspective asks for them."""
    asked = [field["name"] for field in caption.perspective_version.schema_fields]
    named = [(name, caption.result[name]) for name in asked if name in caption.result]
    return named + [(name, value) for name, value in caption.result.items() if name not in asked]


@register.filter
def camera(image: Image) -> list[tuple[str, str]]:
    """Say with what and how a picture was taken, as far as its EXIF data tell."""
    tags = image.exif
    body = str(tags.get("Model", ""))
    maker = str(tags.get("Make", ""))
    named = body if body.lower().startswith(maker.lower()) else f"{maker} {body}".strip()
    exposed = tags.get("ExposureTime")
    settings = [
        f"f/{tags['FNumber']:g}" if _is_number(tags.get("FNumber")) else "",
        _seconds(exposed) if _is_number(exposed) and exposed > 0 else "",
        f"ISO {tags['ISOSpeedRatings']}" if isinstance(tags.get("ISOSpeedRatings"), int) else "",
        f"{tags['FocalLength']:g} mm" if _is_number(tags.get("FocalLength")) else "",
    ]
    found = [
        (_("Camera"), named),
        (_("Lens"), str(tags.get("LensModel", ""))),
        (_("Exposure"), ", ".join(one for one in settings if one)),
    ]
    return [(name, value) for name, value in found if value]


def _seconds(exposed: float) -> str:
    return f"{exposed:g} s" if exposed >= 0.5 else f"1/{round(1 / exposed)} s"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@register.filter
def is_list(value: object) -> bool:
    return isinstance(value, list)


@register.filter
def is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


@register.filter
def is_empty(value: object) -> bool:
    return value is None or value in ("", [], {})


@register.filter
def pairs(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(value.items())

"""Let local vision answer: look at an image once, then fill as many perspectives as ask for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from uploads import storage

from . import pictures, vision
from .answers import Answer
from .library import wording_of
from .models import Image, PerspectiveVersion
from .provider_sources import LOCAL_VISION

# Beyond this the models see nothing more, and decoding costs memory.
_WITHIN = (2048, 2048)

# What was seen last, by the bytes that were looked at. One entry: the items of a job are image-major, so the
# perspectives of one image follow each other, and nothing comes back later.
_seen: tuple[str, vision.Observation] | None = None


def fill(version: PerspectiveVersion, image: Image) -> Answer:
    """Raises NeedsLanguageModel, PictureRefused, FileMissing, StoreUnavailable."""
    filled = vision.local_vision().fill(wording_of(version), _observation(image))
    return Answer(
        result=filled.result,
        text=filled.text,
        provider=LOCAL_VISION,
        model="",
        provenance={
            "fields": filled.provenance,
            "confidence": filled.confidence,
            "abstained": filled.abstained,
            "versions": vision.local_vision().versions(),
        },
        cost_usd=Decimal(0),
    )


def preview(version: PerspectiveVersion, image: Image) -> dict[str, Any]:
    """Show what local vision is asked: which evidence it is to fill each field with, from which picture."""
    return {
        "provider": LOCAL_VISION,
        "picture": {
            "path": image.path,
            "sha256": image.sha256,
            "width": image.width,
            "height": image.height,
            "looked_at_within": list(_WITHIN),
        },
        "fields": version.local_vision,
        "versions": vision.local_vision().versions(),
    }


def _observation(image: Image) -> vision.Observation:
    global _seen
    if _seen is None or _seen[0] != image.sha256:
        with storage.open_whole(image.stored_as) as file:
            picture = pictures.first_frame(file, within=_WITHIN)
        seen = vision.local_vision().look(picture)
        # What is said of the size is the picture's own, not that of the copy that was looked at.
        _seen = (image.sha256, replace(seen, width=image.width, height=image.height))
    return _seen[1]

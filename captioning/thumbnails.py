"""Small WebP pictures, made when somebody first asks and kept in VAR_DIR/thumbnails.

A cache: the folder may be emptied at any time, and every machine that serves pages has its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.conf import settings

from orchestrator.problems import Invalid
from uploads import storage

from . import pictures

# A few widths only, so that every page asks for the same files.
WIDTHS = (96, 192, 384, 768, 1024)
SMALLEST, LARGEST = 64, WIDTHS[-1]
DEFAULT_WIDTH = 384
MEDIA_TYPE = "image/webp"
_TALLEST = 4  # times the width; WebP ends at 16383 pixels, and a page long before


def snap(width: int) -> int:
    """Find the width that is made for the wish of this many pixels: the next larger one."""
    if not SMALLEST <= width <= LARGEST:
        message = f"Ask for a width from {SMALLEST} to {LARGEST} pixels."
        raise Invalid(message, errors={"width": [message]})
    return next(made for made in WIDTHS if made >= width)


def thumbnail(sha256: str, key: str, width: int) -> Path:
    """Return the file of a picture at most `width` (one of WIDTHS) wide, never enlarged; first frame, upright, sRGB.

    key: where the original lies in the store. Raises FileMissing, StoreUnavailable, PictureRefused.
    """
    place = _place(sha256, width)
    if not place.exists():
        with storage.open_whole(key) as original:
            frame = pictures.first_frame(original, within=(width, _TALLEST * width))
        place.parent.mkdir(parents=True, exist_ok=True)
        # Two that ask at once both make it; the file is never seen half-written.
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=".part-", delete=False) as part:
            try:
                frame.save(part, "WEBP", quality=80, method=4)
                part.flush()
                Path(part.name).replace(place)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    return place


def forget(sha256: str) -> None:
    """Drop what this machine keeps of a picture that nobody has any more."""
    for width in WIDTHS:
        _place(sha256, width).unlink(missing_ok=True)


def _place(sha256: str, width: int) -> Path:
    return settings.VAR_DIR / "thumbnails" / sha256[:2] / f"{sha256}-{width}.webp"

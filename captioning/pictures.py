"""What the bytes of a picture are: format, size, orientation, EXIF; and its first frame in plain colours.

Bytes decide, names never do. Nothing here knows the database.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, BinaryIO, cast

from django.conf import settings
from PIL import ExifTags, ImageCms, ImageOps, UnidentifiedImageError
from PIL import Image as Pillow

from orchestrator.problems import Problem

from . import looks

logger = logging.getLogger(__name__)

# Pillow's name of a format -> suffix and media type. MPO is a JPEG with further views behind the first.
FORMATS: dict[str, tuple[str, str]] = {
    "JPEG": (".jpg", "image/jpeg"),
    "MPO": (".jpg", "image/jpeg"),
    "PNG": (".png", "image/png"),
    "WEBP": (".webp", "image/webp"),
    "GIF": (".gif", "image/gif"),
    "BMP": (".bmp", "image/bmp"),
    "TIFF": (".tiff", "image/tiff"),
}
_OPENERS = [name for name in FORMATS if name != "MPO"]  # MPO is found by the opener of JPEG
_SAVE_AS = "Save it as JPEG, PNG, WebP, GIF, BMP or TIFF."
# Beginnings of what people upload by mistake -> what to tell them.
_STRANGERS: list[tuple[int, bytes, str]] = [
    (0, b"PK\x03\x04", "This is a zip archive, not a picture. Unpack it and upload the pictures in it."),
    (0, b"\x1f\x8b", "This is a gzip archive, not a picture. Unpack it and upload the pictures in it."),
    (0, b"%PDF", f"This is a PDF, not a picture. {_SAVE_AS}"),
    (4, b"ftyp", f"This is HEIC, AVIF or a video, which cannot be read here. {_SAVE_AS}"),
]
_DAMAGED = "The picture is damaged or cut off. Upload it again from the original."

# Pillow's own guard looks at sizes that only a decoder learns, such as the frames of a GIF.
Pillow.MAX_IMAGE_PIXELS = settings.IMAGE_MAX_PIXELS

# A picture of the largest size takes half a gigabyte while it is decoded, as an animation three times that: as many
# at once as there are cores to decode them.
_decoders = threading.BoundedSemaphore(settings.CORES)

_ROTATED = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
# Tags that say where in the file something lies, and nothing of the picture.
_POINTERS = frozenset(ExifTags.IFD) | {0x0111, 0x0117, 0x0144, 0x0145, 0x0201, 0x0202}  # strips, tiles, small JPEG
_LEAST_SEEN = 64  # pixels of a side that are enough to see what a picture looks like
_MAX_EXIF_TEXT = 2000
_FIRST_PHOTOGRAPH = 1826  # a date before is a clock that was never set
_MAX_EXIF_LIST = 32  # a TIFF lists every strip of its pixels among its tags


class PictureRefused(Problem):
    """Picture refused

    `detail` is one sentence on what is wrong and one on what to do.
    """


@dataclass(frozen=True)
class Picture:
    """What was read from a picture's bytes. width, height: pixels, after EXIF orientation. look: see looks.py."""

    format: str
    width: int
    height: int
    n_frames: int
    taken_at: datetime | None
    exif: dict[str, Any]
    look: int | None

    @property
    def suffix(self) -> str:
        return FORMATS[self.format][0]


def inspect(file: BinaryIO) -> Picture:
    """Read what a seekable file holds and decode its first frame once, to know that it can be.

    Raises PictureRefused: no picture, too many pixels, damaged.
    """
    with _opened(file) as image:
        width, height = image.size
        n_frames = getattr(image, "n_frames", 1)
        exif = _exif(image)
        # At an eighth of its size all bytes of a JPEG are read too, in half the time and a fiftieth of the memory.
        image.draft(None, (max(_LEAST_SEEN, width // 8), max(_LEAST_SEEN, height // 8)))
        image.load()
        grey = _in_grey(image).resize((_LEAST_SEEN, _LEAST_SEEN), Pillow.Resampling.BOX)
    # Outside of the block that takes every fault for a damaged picture: from here on a fault is ours.
    if exif.get(ExifTags.Base.Orientation) in _ROTATED:
        width, height = height, width
    if ExifTags.Base.Orientation in exif:
        grey.getexif()[ExifTags.Base.Orientation] = exif[ExifTags.Base.Orientation]
        ImageOps.exif_transpose(grey, in_place=True)
    return Picture(image.format or "", width, height, n_frames, _taken_at(exif), _exif_json(exif), looks.look_of(grey))


def first_frame(file: BinaryIO, *, within: tuple[int, int]) -> Pillow.Image:
    """Decode the first frame upright, in sRGB, scaled down to fit within (width, height); mode RGB or RGBA.

    Raises PictureRefused if the bytes are damaged.
    """
    with _opened(file) as image:
        profile = image.info.get("icc_profile")
        orientation = _exif(image).get(ExifTags.Base.Orientation)
        box = within[::-1] if orientation in _ROTATED else within
        frame = _in_8_bits(image)
        frame.thumbnail(box, Pillow.Resampling.LANCZOS)
        frame = _in_srgb(frame, profile)
        if orientation is not None:
            frame.getexif()[ExifTags.Base.Orientation] = orientation
            ImageOps.exif_transpose(frame, in_place=True)
        return frame


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Pillow.Image]:
    """Open a picture for decoding, and say in our words what its decoder trips over."""
    file.seek(0)
    head = file.read(64)
    if not head:
        raise PictureRefused("The file is empty. Upload it again.")
    with _decoders:
        try:
            file.seek(0)
            with Pillow.open(file, formats=_OPENERS) as image:
                if image.width * image.height > settings.IMAGE_MAX_PIXELS:
                    raise _too_many_pixels()
                yield image
        except (PictureRefused, MemoryError):
            raise
        except Pillow.DecompressionBombError:
            raise _too_many_pixels() from None
        except UnidentifiedImageError:
            raise PictureRefused(_what_it_is(head)) from None
        except Exception as error:  # decoders of broken bytes raise whatever they stumble into
            logger.info("picture refused", extra={"error": f"{type(error).__name__}: {error}"})
            raise PictureRefused(_DAMAGED) from error


def _too_many_pixels() -> PictureRefused:
    return PictureRefused(
        f"The picture has more than {settings.IMAGE_MAX_PIXELS // 1_000_000} megapixels. Scale it down."
    )


def _what_it_is(head: bytes) -> str:
    for offset, mark, reason in _STRANGERS:
        if head[offset:].startswith(mark):
            return reason
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")) or head[8:12] == b"WEBP":
        return _DAMAGED
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        return f"This is a drawing (SVG or other XML), not a picture of pixels. {_SAVE_AS}"
    if all(byte >= 0x20 or byte in b"\t\r\n\f" for byte in head):
        return f"This is text, not a picture. {_SAVE_AS}"
    return f"This is not a picture that can be read here. {_SAVE_AS}"


def _exif(image: Pillow.Image) -> Pillow.Exif:
    try:
        return image.getexif()
    except Exception as error:
        # The pixels are what was asked for: a picture with unreadable EXIF is a picture without it.
        logger.info("unreadable EXIF", extra={"error": f"{type(error).__name__}: {error}"})
        return Pillow.Exif()


def _exif_json(exif: Pillow.Exif) -> dict[str, Any]:
    """Name the tags and leave out what is binary, endless or no number."""
    named = _named(exif, ExifTags.TAGS)
    for pointer, name in ((ExifTags.IFD.Exif, None), (ExifTags.IFD.GPSInfo, "GPSInfo")):
        try:
            tags = exif.get_ifd(pointer)
        except Exception as error:
            logger.info("unreadable EXIF", extra={"error": f"{type(error).__name__}: {error}"})
            continue
        if name is None:
            named |= _named(tags, ExifTags.TAGS)
        elif tags:
            named[name] = _named(tags, ExifTags.GPSTAGS)
    return named


def _named(tags: Any, names: dict[int, str]) -> dict[str, Any]:
    values = {names[tag]: _plain(value) for tag, value in tags.items() if tag in names and tag not in _POINTERS}
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    """Turn an EXIF value into JSON that PostgreSQL takes; None where there is no such value."""
    if isinstance(value, str):
        text = value.replace("\0", "").encode("utf-8", "replace").decode().strip()
        return text[:_MAX_EXIF_TEXT] or None
    if isinstance(value, bytes):
        return None
    if isinstance(value, (tuple, list)):
        parts = [_plain(part) for part in value]
        return None if len(parts) > _MAX_EXIF_LIST or None in parts else parts
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _taken_at(exif: Pillow.Exif) -> datetime | None:
    """Read when the shutter was pressed. A camera that does not say its offset is taken to run on UTC."""
    tags = ExifTags.Base
    try:
        details = exif.get_ifd(ExifTags.IFD.Exif)
    except Exception:
        details = {}  # said in the log by _exif_json
    for when, offset in (
        (details.get(tags.DateTimeOriginal), details.get(tags.OffsetTimeOriginal)),
        (details.get(tags.DateTimeDigitized), details.get(tags.OffsetTimeDigitized)),
        (exif.get(tags.DateTime), details.get(tags.OffsetTime)),
    ):
        text = str(when or "").strip("\0 ")
        for zone in (str(offset or "").strip("\0 "), "+00:00"):
            try:
                moment = datetime.strptime(f"{text}{zone}", "%Y:%m:%d %H:%M:%S%z").astimezone(UTC)
            except (ValueError, OverflowError):
                continue
            if moment.year >= _FIRST_PHOTOGRAPH:
                return moment
    return None


def _in_8_bits(image: Pillow.Image) -> Pillow.Image:
    """Bring every mode to one that can be scaled and shown: L, LA, RGB, RGBA, CMYK, YCbCr or LAB."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda level: level * (1 / 257)).convert("L")
    if image.mode in ("I", "F"):
        # Nothing says which number is white: the darkest becomes black and the brightest white.
        low, high = cast(tuple[float, float], image.getextrema())  # one band, one pair
        scale = 255 / ((high - low) or 1)
        return image.convert("F").point(lambda level: level * scale + (-low * scale)).convert("L")
    return image


def _in_grey(image: Pillow.Image) -> Pillow.Image:
    plain = _in_8_bits(image)
    return plain.getchannel(0) if plain.mode == "LAB" else plain.convert("L")  # Pillow converts LAB by profiles only


def _in_srgb(image: Pillow.Image, profile: bytes | None) -> Pillow.Image:
    if image.mode == "LA":
        image = image.convert("RGBA")
    target = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        source = _profile_of(image.mode, profile)
        if source is None:
            return image.convert(target)
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=target)
    except (ImageCms.PyCMSError, OSError):
        # A profile that does not fit its own picture is common; without it colours are a shade off.
        return image.convert(target)
    assert converted is not None  # None only where it was asked to work in place
    return converted


def _profile_of(mode: str, profile: bytes | None) -> ImageCms.ImageCmsProfile | None:
    if mode == "LAB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    if profile and mode in ("L", "RGB", "RGBA", "CMYK"):
        return ImageCms.ImageCmsProfile(BytesIO(profile))
    return None

"""Pictures in the form that providers accept."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from types import MappingProxyType

from PIL import Image, ImageOps, UnidentifiedImageError

from captioning.gateway.errors import Permanent

# Long edge and short edge in pixels; a portrait picture uses them the other way round.
PRESETS = MappingProxyType(
    {
        "SD_VGA": (640, 480),
        "HD_720P": (1280, 720),
        "FHD_1080P": (1920, 1080),
        "QHD_1440P": (2560, 1440),
        "UHD_4K": (3840, 2160),
        "UHD_8K": (7680, 4320),
    }
)
_QUALITIES = (85, 75, 65, 55, 45)
_MAX_PIXELS = 200_000_000  # decoded as RGB about 600 MB; beyond it is a bomb, not a photograph
_SMALLEST_EDGE = 64


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture ready to be sent; width and height in pixels, mime as the bytes really are."""

    content: bytes = field(repr=False)
    mime: str
    width: int
    height: int

    @property
    def data_url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode('ascii')}"


def prepare(image: bytes, *, long_edge: int = 1568, byte_cap: int = 3_500_000, resize: str | None = None) -> Picture:
    """Turn any readable image into a small upright RGB picture without metadata.

    long_edge: pixels; resize: name of a preset, which takes its place. Proportions are kept, nothing is enlarged.
    byte_cap: quality is stepped down, then size, until the picture fits.
    Always encoded anew, even where the original would fit: originals carry places and serial numbers in their EXIF.
    Raises Permanent: `bad_picture` for what cannot be read, `bad_request` for an unknown preset.
    """
    box = _box(long_edge, resize)
    picture = _open(image, box)
    oriented = box if picture.width >= picture.height else box[::-1]
    picture.thumbnail(oriented, Image.Resampling.LANCZOS)  # never enlarges
    return _encode(picture, byte_cap)


def shrink(picture: Picture) -> Picture:
    """Make a picture that a server called too large half as wide and at most half as heavy."""
    return prepare(
        picture.content, long_edge=max(picture.width, picture.height) // 2 or 1, byte_cap=len(picture.content) // 2
    )


def _box(long_edge: int, resize: str | None) -> tuple[int, int]:
    if resize is None or resize == "NONE":
        return (long_edge, long_edge)
    if resize not in PRESETS:
        raise Permanent(f"Unknown size {resize!r}; use one of {', '.join(PRESETS)}.", code="bad_request")
    return PRESETS[resize]


def _open(image: bytes, box: tuple[int, int]) -> Image.Image:
    try:
        with Image.open(io.BytesIO(image)) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                raise Permanent(
                    f"The picture has {opened.width} x {opened.height} pixels; at most {_MAX_PIXELS:,} are read.",
                    code="bad_picture",
                )
            # JPEG decoders can skip to 1/2, 1/4, 1/8 while reading, never below the size asked for.
            opened.draft("RGB", (max(box), max(box)))
            opened.load()
            return _rgb(ImageOps.exif_transpose(opened))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Permanent(f"The picture cannot be read: {type(error).__name__}.", code="bad_picture") from error


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F" or picture.mode.startswith("I"):
        # Pillow clips deep greys at 255, which turns a 16-bit scan white; spread what is there instead.
        low, high = picture.getextrema()
        spread = 255.0 / (high - low) if high > low else 0.0  # type: ignore[operator]
        picture = picture.convert("F").point(lambda grey: grey * spread - low * spread).convert("L")  # type: ignore[operator]
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", layer.size, "white")
        picture.paste(layer, mask=layer.getchannel("A"))
    return picture.convert("RGB")


def _encode(picture: Image.Image, byte_cap: int) -> Picture:
    # Few colours mean a drawing or a page of text: PNG keeps its edges and is smaller.
    if picture.getcolors(256) is not None:
        content = _saved(picture, "PNG", optimize=True)
        if len(content) <= byte_cap:
            return Picture(content, "image/png", picture.width, picture.height)
    while True:
        for quality in _QUALITIES:
            content = _saved(picture, "JPEG", quality=quality)
            if len(content) <= byte_cap:
                return Picture(content, "image/jpeg", picture.width, picture.height)
        if max(picture.size) <= _SMALLEST_EDGE:
            raise Permanent(f"The picture cannot be made smaller than {byte_cap} bytes.", code="too_large")
        picture = picture.resize(
            (max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4)), Image.Resampling.LANCZOS
        )


def _saved(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()

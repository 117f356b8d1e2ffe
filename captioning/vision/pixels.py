"""Measure what the pixels alone say: light, sharpness, flatness, and what the file tells of its making. Pillow only."""

from __future__ import annotations

from typing import cast

from PIL import ExifTags, Image, ImageChops, ImageFilter, ImageStat

from .observation import Composition

_SIDE = 512  # pixels; figures of pictures of different sizes are compared at this long edge
_COLOURLESS = 6.0  # mean distance between the strongest and the weakest channel, 0 to 255
_UNIFORM = 0.012  # standard deviation of the luma, 0 to 1
_SQUARE = 1.05  # longer by less than this is still square
# Steps between neighbouring pixels, 0 to 255. Photographs are full of middling steps, drawings have none or hard ones.
_FLAT_STEP, _HARD_STEP = 3, 24
_FLAT_SHARE, _MIDDLING_PER_HARD = 0.5, 2.0
_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


def as_rgb(picture: Image.Image) -> Image.Image:
    """Bring a picture of any mode to RGB; what is transparent becomes white, as on a page."""
    if picture.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        # Pillow would cut everything above 255 instead of scaling it.
        levels = picture.convert("F")
        # One channel, so one pair; the annotation of Pillow covers pictures of several.
        low, high = cast(tuple[float, float], levels.getextrema())
        scale = 255 / (high - low) if high > low else 0.0
        return levels.point(lambda level: level * scale - low * scale).convert("L").convert("RGB")
    if picture.has_transparency_data:
        layers = picture.convert("RGBA")
        page = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(page, layers).convert("RGB")
    return picture.convert("RGB")


def composition_of(picture: Image.Image) -> Composition:
    """Measure an RGB picture of at least one pixel."""
    width, height = picture.size
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    luma = small.convert("L")
    light = ImageStat.Stat(luma)
    contrast = light.stddev[0] / 255
    channels = small.split()
    strongest = ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2])
    weakest = ImageChops.darker(ImageChops.darker(channels[0], channels[1]), channels[2])
    chroma = ImageStat.Stat(ImageChops.difference(strongest, weakest)).mean[0]
    is_uniform = contrast < _UNIFORM and ImageStat.Stat(small.convert("HSV")).stddev[1] < _UNIFORM * 255
    return Composition(
        orientation=_orientation(width, height),
        brightness=light.mean[0] / 255,
        contrast=contrast,
        sharpness=_sharpness(luma),
        is_monochrome=chroma < _COLOURLESS,
        is_uniform=is_uniform,
        is_flat=not is_uniform and _is_flat(small),
    )


def taken_by(picture: Image.Image) -> str:
    """Say what the file tells of camera and date, as "camera, date"; empty if nothing. Places are left out."""
    exif = picture.getexif()
    maker, model = (str(exif.get(tag, "")).strip("\x00 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    camera = model if model.startswith(maker) else f"{maker} {model}".strip()
    details = exif.get_ifd(ExifTags.IFD.Exif)
    date = str(details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime) or "").strip("\x00 ")
    return ", ".join(part for part in (camera, date[:10].replace(":", "-")) if part.isprintable() and part)


def _orientation(width: int, height: int) -> str:
    if max(width, height) <= _SQUARE * min(width, height):
        return "square"
    return "landscape" if width > height else "portrait"


def _sharpness(luma: Image.Image) -> float:
    width, height = luma.size
    if width < 3 or height < 3:
        return 0.0
    # The outermost pixels keep their own value under a kernel, which would count as an edge.
    edges = luma.filter(_LAPLACIAN).crop((1, 1, width - 1, height - 1))
    return float(ImageStat.Stat(edges).var[0])


def _is_flat(small: Image.Image) -> bool:
    width, height = small.size
    if width < 3 or height < 3:
        return False
    here = small.crop((0, 0, width - 1, height - 1))
    right = ImageChops.difference(here, small.crop((1, 0, width, height - 1)))
    below = ImageChops.difference(here, small.crop((0, 1, width - 1, height)))
    channels = ImageChops.lighter(right, below).split()
    steps = ImageChops.lighter(ImageChops.lighter(channels[0], channels[1]), channels[2]).histogram()
    flat, hard = sum(steps[: _FLAT_STEP + 1]), sum(steps[_HARD_STEP + 1 :])
    middling = sum(steps) - flat - hard
    return flat >= _FLAT_SHARE * sum(steps) and middling <= _MIDDLING_PER_HARD * hard

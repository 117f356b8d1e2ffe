"""Name the colours of a picture: about forty names, the nearest by CIEDE2000."""

from __future__ import annotations

from functools import lru_cache
from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

from PIL import Image

from .observation import Colour

_SIDE = 128  # pixels; shares of colours do not change visibly beyond
_SHADES = 32
_SMALLEST_SHARE = 0.04
_MOST = 6
_CLEAR_CHROMA = 12.0

_NAMES: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "near black": (20, 22, 26),
    "charcoal": (48, 50, 54),
    "dark grey": (84, 85, 88),
    "grey": (128, 128, 128),
    "light grey": (190, 190, 192),
    "off-white": (236, 234, 228),
    "white": (255, 255, 255),
    "slate grey": (100, 114, 130),
    "dark slate": (40, 54, 68),
    "midnight blue": (12, 22, 52),
    "navy": (16, 32, 92),
    "dark blue": (24, 56, 120),
    "blue": (32, 80, 210),
    "steel blue": (70, 120, 170),
    "sky blue": (120, 180, 230),
    "pale blue": (190, 214, 236),
    "indigo": (66, 52, 140),
    "violet": (130, 80, 190),
    "lavender": (190, 176, 220),
    "purple": (110, 30, 120),
    "magenta": (206, 40, 150),
    "pink": (240, 160, 185),
    "pale pink": (246, 218, 220),
    "dark red": (120, 20, 24),
    "red": (208, 32, 36),
    "coral": (240, 118, 96),
    "rust": (160, 72, 32),
    "orange": (244, 136, 24),
    "brown": (112, 72, 44),
    "dark brown": (58, 38, 26),
    "tan": (198, 160, 118),
    "beige": (232, 216, 188),
    "gold": (204, 162, 44),
    "yellow": (246, 222, 52),
    "pale yellow": (248, 242, 180),
    "olive": (122, 124, 40),
    "dark green": (22, 66, 32),
    "green": (52, 142, 58),
    "moss green": (90, 112, 62),
    "light green": (150, 204, 128),
    "lime": (156, 222, 40),
    "dark teal": (14, 66, 76),
    "teal": (18, 128, 132),
    "turquoise": (70, 204, 200),
    "cyan": (40, 206, 240),
}

Lab = tuple[float, float, float]


def colours_of(picture: Image.Image) -> tuple[Colour, ...]:
    """List the named colours of an RGB picture by their share, the largest first; at least one."""
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    shades = small.quantize(_SHADES, method=Image.Quantize.MEDIANCUT)
    palette = shades.getpalette() or []
    counts = [(count, index) for index, count in enumerate(shades.histogram()) if count]
    by_name: dict[str, list[tuple[int, tuple[int, int, int]]]] = {}
    for count, index in counts:
        shade = (palette[3 * index], palette[3 * index + 1], palette[3 * index + 2])
        by_name.setdefault(name_of(shade), []).append((count, shade))
    total = sum(count for count, _ in counts)
    named = sorted(
        (
            Colour(name, "#{:02x}{:02x}{:02x}".format(*max(parts)[1]), sum(count for count, _ in parts) / total)
            for name, parts in by_name.items()
        ),
        key=lambda colour: -colour.share,
    )
    return tuple(colour for colour in named[:_MOST] if colour.share >= _SMALLEST_SHARE) or (named[0],)


def is_clear(colour: Colour) -> bool:
    """Tell a colour from greys and blacks with a cast."""
    _, a, b = to_lab((int(colour.hex[1:3], 16), int(colour.hex[3:5], 16), int(colour.hex[5:7], 16)))
    return hypot(a, b) >= _CLEAR_CHROMA


@lru_cache(maxsize=4096)
def name_of(shade: tuple[int, int, int]) -> str:
    """Name an sRGB shade, each part 0 to 255."""
    lab = to_lab(shade)
    return min(_NAMES, key=lambda name: difference(lab, _lab_of(name)))


@lru_cache(maxsize=len(_NAMES))
def _lab_of(name: str) -> Lab:
    return to_lab(_NAMES[name])


def to_lab(shade: tuple[int, int, int]) -> Lab:
    """Convert sRGB (0 to 255) to CIE L*a*b* under D65."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (p / 255 for p in shade)
    )
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    fx, fy, fz = (t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def difference(one: Lab, other: Lab) -> float:
    """Return CIEDE2000 with all weights 1.

    Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", Color Research and Application 30 (2005).
    """
    l1, a1, b1 = one
    l2, a2, b2 = other
    c_mean7 = ((hypot(a1, b1) + hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - sqrt(c_mean7 / (c_mean7 + 25**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = hypot(a1, b1), hypot(a2, b2)
    h1 = degrees(atan2(b1, a1)) % 360 if c1 else 0.0
    h2 = degrees(atan2(b2, a2)) % 360 if c2 else 0.0

    turn = h2 - h1
    if not c1 or not c2:
        turn = 0.0
    elif abs(turn) > 180:
        turn -= 360 if turn > 0 else -360
    dl, dc = l2 - l1, c2 - c1
    dh = 2 * sqrt(c1 * c2) * sin(radians(turn / 2))

    l_mean, c_mean = (l1 + l2) / 2, (c1 + c2) / 2
    if not c1 or not c2:
        h_mean = h1 + h2
    elif abs(h1 - h2) <= 180:
        h_mean = (h1 + h2) / 2
    else:
        h_mean = (h1 + h2 + (360 if h1 + h2 < 360 else -360)) / 2

    t = (
        1
        - 0.17 * cos(radians(h_mean - 30))
        + 0.24 * cos(radians(2 * h_mean))
        + 0.32 * cos(radians(3 * h_mean + 6))
        - 0.20 * cos(radians(4 * h_mean - 63))
    )
    s_l = 1 + 0.015 * (l_mean - 50) ** 2 / sqrt(20 + (l_mean - 50) ** 2)
    s_c = 1 + 0.045 * c_mean
    s_h = 1 + 0.015 * c_mean * t
    r_c = 2 * sqrt(c_mean**7 / (c_mean**7 + 25**7))
    r_t = -r_c * sin(radians(60 * exp(-(((h_mean - 275) / 25) ** 2))))
    return sqrt((dl / s_l) ** 2 + (dc / s_c) ** 2 + (dh / s_h) ** 2 + r_t * (dc / s_c) * (dh / s_h))

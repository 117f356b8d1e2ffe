"""What a picture looks like, in 64 bits: pictures that look alike differ in a few of them, whatever their bytes.

A perceptual hash: the signs of the lowest frequencies of the picture in grey. It survives scaling, compression and
changes of light; it does not see through mirrors and crops.
Source: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image as Pillow

ALIKE_BITS = 6  # measured on re-encoded and scaled photographs: 0 to 4; unrelated ones: 20 and more
_SIDE = 32  # pixels that the picture is shrunk to
_KEPT = 8  # frequencies in each direction
_FAINTEST = 2.0  # grey levels; a picture with less structure than this is a plain colour, alike to all plain colours
_COSINES = [
    [math.cos(math.pi * frequency * (2 * place + 1) / (2 * _SIDE)) for place in range(_SIDE)]
    for frequency in range(_KEPT + 1)
]
# Two hashes that differ in at most six bits agree in at least one of seven bands: what an index can find.
_BAND_BITS = (9, 9, 9, 9, 9, 9, 10)


def look_of(picture: Pillow.Image) -> int | None:
    """Hash how an upright picture looks, as a signed 64-bit number; None where there is nothing to see in it."""
    grey = picture.convert("L").resize((_SIDE, _SIDE), Pillow.Resampling.BOX)
    levels = grey.tobytes()
    rows = [levels[start : start + _SIDE] for start in range(0, _SIDE * _SIDE, _SIDE)]
    by_row = [[_dot(row, _COSINES[u]) for u in range(1, _KEPT + 1)] for row in rows]
    # Without the constant part of either direction: borders and light would weigh more than what is shown.
    strengths = [_dot([row[u] for row in by_row], _COSINES[v]) for v in range(1, _KEPT + 1) for u in range(_KEPT)]
    if max(abs(strength) for strength in strengths) < _FAINTEST * _SIDE:
        return None
    middle = sorted(strengths)[len(strengths) // 2]
    bits = 0
    for strength in strengths:
        bits = bits << 1 | (strength >= middle)
    return bits - (1 << 64) if bits >> 63 else bits


def distance(one: int, other: int) -> int:
    """Count the bits in which two looks differ."""
    return ((one ^ other) & (2**64 - 1)).bit_count()


def bands(look: int | None) -> list[int]:
    """Cut a look into seven numbers, each marked with its place."""
    if look is None:
        return []
    found, rest = [], look & (2**64 - 1)
    for place, width in enumerate(_BAND_BITS):
        found.append(place << max(_BAND_BITS) | rest & (1 << width) - 1)
        rest >>= width
    return found


def _dot(levels: Sequence[float], cosines: Sequence[float]) -> float:
    return sum(level * cosine for level, cosine in zip(levels, cosines, strict=True))

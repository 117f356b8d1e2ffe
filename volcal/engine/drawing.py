"""Pictures of heights and of change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .surface import Surface

Picture = NDArray[np.uint8]

_CUT, _FILL = np.array([178, 34, 52.0]), np.array([33, 88, 172.0])  # told apart by the colour-blind too
_GROUND = np.array([246, 244, 238.0])
_MOST_PIXELS = 1600
_SUN_AZIMUTH_DEG, _SUN_HEIGHT_DEG = 315.0, 45.0
_OUTLINE = (20, 20, 20)


def hillshade(surface: Surface) -> NDArray[np.float64]:
    """Return brightness 0 to 1 under a sun in the north-west; (rows, cols), NaN where unknown."""
    slope_y, slope_x = np.gradient(surface.heights, surface.cell_m)
    azimuth, height = np.radians(_SUN_AZIMUTH_DEG), np.radians(_SUN_HEIGHT_DEG)
    sun = np.array([np.sin(azimuth) * np.cos(height), np.cos(azimuth) * np.cos(height), np.sin(height)])
    light = (-slope_x * sun[0] - slope_y * sun[1] + sun[2]) / np.sqrt(1 + slope_x**2 + slope_y**2)
    return np.clip(light, 0, 1)


def change_picture(surface: Surface, difference: NDArray[Any], significant: NDArray[Any], full_m: float) -> Picture:
    """Colour change over the shaded ground: cut red, fill blue, full colour at full_m, none where not significant.

    All (rows, cols), row 0 in the south; returns (rows, cols, 4) north up, transparent where nothing is known.
    """
    light = hillshade(surface)
    light = np.where(np.isfinite(light), light, 0.7)
    strength = np.clip(np.abs(np.nan_to_num(difference)) / max(full_m, 1e-6), 0, 1) ** 0.7
    strength = np.where(significant & np.isfinite(difference), np.maximum(strength, 0.15), 0)
    colour = np.where((difference < 0)[..., None], _CUT, _FILL)
    shade = (0.35 + 0.65 * light)[..., None]
    picture = (_GROUND * (1 - strength[..., None]) + colour * strength[..., None]) * shade
    alpha = np.where(surface.is_known, 255, 0)[..., None]
    return np.concatenate((picture, alpha), axis=-1).astype(np.uint8)[::-1]


def write_picture(
    place: Path, picture: Picture, low: tuple[float, float], cell_m: float, areas: list[shapely.Geometry]
) -> tuple[int, int]:
    """Write a PNG with outlines. low: south-western corner, metres; returns width and height in pixels."""
    image = Image.fromarray(picture, "RGBA")
    scale = min(1.0, _MOST_PIXELS / max(image.size))
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
    elif max(image.size) < 400:
        scale = float(np.ceil(400 / max(image.size)))
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    for area in areas:
        for part in shapely.get_parts(area):
            for ring in (part.exterior, *part.interiors):
                xy = (np.asarray(ring.coords)[:, :2] - low) / cell_m * scale
                line = [(float(x), float(image.height - y)) for x, y in xy]
                pen.line(line, fill=_OUTLINE, width=2, joint="curve")
    image.save(place, optimize=False, compress_level=6)
    return image.size


def crop(surface: Surface, area: shapely.Geometry, margin_m: float) -> tuple[slice, slice, tuple[float, float]]:
    """Return the rows and columns around an area, and their low corner."""
    low_x, low_y, high_x, high_y = area.bounds
    cell = surface.cell_m
    rows, columns = surface.heights.shape
    left = int(np.clip((low_x - margin_m - surface.low[0]) // cell, 0, columns - 1))
    below = int(np.clip((low_y - margin_m - surface.low[1]) // cell, 0, rows - 1))
    right = int(np.clip((high_x + margin_m - surface.low[0]) // cell + 1, left + 1, columns))
    above = int(np.clip((high_y + margin_m - surface.low[1]) // cell + 1, below + 1, rows))
    return slice(below, above), slice(left, right), (surface.low[0] + left * cell, surface.low[1] + below * cell)

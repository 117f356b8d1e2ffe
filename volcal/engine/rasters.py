"""Heights of the whole site as GeoTIFF files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .surface import Surface, frame_of, surface_of
from .threads import at_once

_MOST_CELLS = 4_000_000
_NODATA = -9999.0
_HOLE_CELLS = 2  # so far an empty cell takes its neighbours' heights
# GeoTIFF 1.1 keys and tags
_MODEL_TYPE, _RASTER_TYPE, _PROJECTED_CRS = 1024, 1025, 3072
_PIXEL_SCALE, _TIE_POINT, _KEY_DIRECTORY, _GDAL_NODATA = 33550, 33922, 34735, 42113


@dataclass(frozen=True)
class SiteRaster:
    """Both epochs on one grid, (rows, cols) metres, NaN where unknown.

    significant: where the core points say that the ground changed. The difference of single cells does not: on slopes
    the mean place of a cell's few points moves its height by more than the level of detection.
    """

    before: Surface
    after: Surface
    significant: NDArray[np.bool_]

    @property
    def difference(self) -> NDArray[np.float64]:
        return self.after.heights - self.before.heights


def site_raster(pre: NDArray[Any], post: NDArray[Any], cores: NDArray[Any], cell_m: float, core_m: float) -> SiteRaster:
    """Average both clouds on one grid; cells grow if there were more than four million."""
    width, depth = np.ptp(pre[:, :2], axis=0)
    cell = max(cell_m, float(np.sqrt(width * depth / _MOST_CELLS)))
    low, shape = frame_of(pre, cell)
    before, after = at_once(lambda cloud: closed(surface_of(cloud, low, shape, cell)), (pre, post))
    known = cores[np.isfinite(cores[:, 3])]
    changed = np.abs(known[:, 3]) > known[:, 4]
    coarse = surface_of(np.column_stack((known[:, :2], changed)), *frame_of(pre, core_m), core_m)
    row, column = np.indices(shape)
    centres = np.column_stack((column.ravel(), row.ravel())) * cell + cell / 2 + low
    with np.errstate(invalid="ignore"):
        return SiteRaster(before, after, (closed(coarse).at(centres) >= 0.5).reshape(shape))


def closed(surface: Surface) -> Surface:
    """Fill cells that chance left empty with the mean of their neighbours, two cells far; real holes stay."""
    heights = surface.heights
    for _ in range(_HOLE_CELLS):
        known = np.isfinite(heights)
        if known.all():
            break
        sums = _around(np.where(known, heights, 0.0))
        counts = _around(known.astype(np.float64))
        with np.errstate(invalid="ignore", divide="ignore"):
            heights = np.where(known, heights, sums / np.where(counts > 0, counts, np.nan))
    return Surface(heights, surface.low, surface.cell_m)


def _around(values: NDArray[Any]) -> NDArray[np.float64]:
    """Add up the 3 x 3 cells around each cell; nothing lies beyond the edge."""
    wide = np.pad(values, 1)
    tall = wide[:-2] + wide[1:-1] + wide[2:]
    return np.asarray(tall[:, :-2] + tall[:, 1:-1] + tall[:, 2:])


def write_geotiff(place: Path, values: NDArray[Any], surface: Surface, origin: NDArray[Any], epsg: int | None) -> None:
    """Write (rows, cols) values, row 0 in the south, as a north-up GeoTIFF; NaN becomes nodata."""
    north = float(origin[1] + surface.low[1] + surface.cell_m * values.shape[0])
    keys = [1, 1, 0, 2, _MODEL_TYPE, 0, 1, 1, _RASTER_TYPE, 0, 1, 1]
    if epsg is not None:
        keys[3] = 3
        keys += [_PROJECTED_CRS, 0, 1, epsg]
    is_mask = values.dtype == np.uint8
    tags: list[tuple[int, str, int, Any, bool]] = [
        (_PIXEL_SCALE, "d", 3, (surface.cell_m, surface.cell_m, 0.0), True),
        (_TIE_POINT, "d", 6, (0.0, 0.0, 0.0, float(origin[0] + surface.low[0]), north, 0.0), True),
        (_KEY_DIRECTORY, "H", len(keys), tuple(keys), True),
    ]
    if not is_mask:
        tags.append((_GDAL_NODATA, "s", 0, f"{_NODATA:g}", True))
        values = np.where(np.isfinite(values), values, _NODATA).astype(np.float32)
    tifffile.imwrite(
        place,
        values[::-1],
        compression="zlib",
        compressionargs={"level": 1},  # noise hardly shrinks, however long one tries
        photometric="minisblack",
        extratags=tags,
        metadata=None,
    )

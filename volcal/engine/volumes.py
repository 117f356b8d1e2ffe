"""Cut, fill and net of an area, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from .threads import at_once
from .tin import Cells, cells_of, heights_in

_CELL_SPACINGS = 0.5
_MOST_CELLS = 3_000_000
_SMOOTH_SPACINGS = 3.0
# Variance of a TIN volume over that of equal weights: Delaunay stars of random points vary in size. Measured: 1.26^2.
_STAR_VARIANCE = 1.6


@dataclass(frozen=True)
class Volume:
    """Cubic metres; net = fill - cut, negative where ground was taken.

    noise_m3: standard deviation from the scatter of points. unknown_share: part of the area without points.
    """

    area_m2: float
    cut_m3: float
    fill_m3: float
    net_m3: float
    noise_m3: float
    mean_height_m: float
    unknown_share: float


def volume_of(
    area: shapely.Geometry,
    pre: NDArray[Any],
    post: NDArray[Any],
    *,
    spacing_m: float,
    sign: int,
    limit_m: float,
) -> Volume:
    """Measure between the triangulated surfaces of both epochs, (n, 3) metres in one frame.

    Net is the sum over all cells, no threshold: noise then cancels. A cell counts as cut or fill by the sign of the
    smoothed difference where that exceeds limit_m, else by the region's sign: raw signs would count noise as work
    (about A sigma / sqrt(2 pi) on each side).
    """
    cell = _CELL_SPACINGS * spacing_m
    cell *= max(1.0, float(np.sqrt(area.area / cell**2 / _MOST_CELLS)))
    cells = cells_of(area, cell)
    before, after = at_once(lambda cloud: heights_in(area, cloud, cells, spacing_m), (pre, post))
    difference = after.heights_m - before.heights_m
    known = np.isfinite(difference)
    smooth = _smoothed(cells, np.where(known, difference, 0.0), known, _SMOOTH_SPACINGS * spacing_m / cell)
    is_fill = np.where(np.abs(smooth) > limit_m, smooth, sign) > 0
    fill = float(difference[known & is_fill].sum() * cell**2)
    cut = -float(difference[known & ~is_fill].sum() * cell**2)
    scatter = sum(one.roughness_m**2 / max(one.density_m2, 1e-9) for one in (before, after))
    return Volume(
        area_m2=float(area.area),
        cut_m3=cut,
        fill_m3=fill,
        net_m3=fill - cut,
        noise_m3=float(np.sqrt(_STAR_VARIANCE * area.area * scatter)),
        mean_height_m=float(difference[known].mean()) if known.any() else 0.0,
        unknown_share=float(1 - known.mean()) if len(known) else 1.0,
    )


def _smoothed(cells: Cells, values: NDArray[Any], known: NDArray[Any], sigma_cells: float) -> NDArray[np.float64]:
    """Return values (n,) smoothed over neighbouring known cells of the area."""
    row, column = (cells.places - cells.places.min(axis=0)).T
    grids = []
    for one in (values, known.astype(float)):
        grid = np.zeros((row.max() + 1, column.max() + 1), np.float32)
        grid[row, column] = one
        grids.append(ndimage.gaussian_filter(grid, sigma_cells))
    smooth: NDArray[np.float64] = (grids[0] / np.maximum(grids[1], 1e-6))[row, column]
    return smooth

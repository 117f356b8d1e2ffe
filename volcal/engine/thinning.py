"""Clouds of fewer points: the mean of each occupied cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_CELLS = 16_000_000  # that are counted as they are numbered, 128 MB


@dataclass(frozen=True)
class Thinned:
    """points: (m, 3) means; counts: (m,) of the points that each is the mean of."""

    points: NDArray[np.float64]
    counts: NDArray[np.intp]


def thinned(points: NDArray[Any], width_m: float, height_m: float | None = None) -> Thinned:
    """Thin a cloud to the mean points of cubes, or of cells of another height; order of the points plays no part."""
    low = points.min(axis=0)
    sides = (width_m, width_m, height_m or width_m)
    column, row, layer = (((points[:, axis] - low[axis]) / sides[axis]).astype(np.int64) for axis in range(3))
    cell = (column * (int(row.max()) + 1) + row) * (int(layer.max()) + 1) + layer
    if cell.max() >= _MOST_CELLS:  # a point far away makes many cells, but few are occupied
        cell = np.unique(cell, return_inverse=True)[1]
    counts = np.bincount(cell)
    occupied = np.flatnonzero(counts)
    counts = counts[occupied]
    sums = [np.bincount(cell, weights=points[:, axis])[occupied] for axis in range(3)]
    return Thinned(np.column_stack(sums) / counts[:, None], counts)

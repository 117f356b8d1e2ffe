"""A cloud as heights on a grid: quick, coarse, good for searching and for pictures, not for volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """heights: (rows, cols) metres, NaN where no point lies; row 0 is the southern edge.

    low: x and y of the outer corner of cell (0, 0), metres.
    """

    heights: Grid
    low: tuple[float, float]
    cell_m: float

    @property
    def is_known(self) -> NDArray[np.bool_]:
        return np.isfinite(self.heights)

    def at(self, xy: NDArray[Any]) -> NDArray[Any]:
        """Return the height of the cell that holds each place, NaN outside. xy: (n, 2)."""
        column, row = np.floor((xy - self.low) / self.cell_m).astype(np.int64).T
        rows, columns = self.heights.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        heights = np.full(len(xy), np.nan)
        heights[inside] = self.heights[row[inside], column[inside]]
        return heights


def frame_of(points: NDArray[Any], cell_m: float) -> tuple[tuple[float, float], tuple[int, int]]:
    """Return the low corner and shape of the grid that covers the points, on whole multiples of the cell."""
    first = np.floor(points[:, :2].min(axis=0) / cell_m)
    columns, rows = (np.floor(points[:, :2].max(axis=0) / cell_m) - first + 1).astype(int)
    return (float(first[0] * cell_m), float(first[1] * cell_m)), (int(rows), int(columns))


def surface_of(points: NDArray[Any], low: tuple[float, float], shape: tuple[int, int], cell_m: float) -> Surface:
    """Average the heights of the points in each cell; points outside the grid are left out. points: (n, 3) metres."""
    column = np.floor((points[:, 0] - low[0]) / cell_m).astype(np.int64)
    row = np.floor((points[:, 1] - low[1]) / cell_m).astype(np.int64)
    heights = points[:, 2]
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    if not inside.all():
        column, row, heights = column[inside], row[inside], heights[inside]
    flat = row * shape[1] + column
    n_cells = shape[0] * shape[1]
    counts = np.bincount(flat, minlength=n_cells)
    with np.errstate(invalid="ignore"):
        means = np.bincount(flat, weights=heights, minlength=n_cells) / counts
    return Surface(means.reshape(shape), low, cell_m)


def nmad(numbers: NDArray[Any]) -> float:
    """Return 1.4826 times the median distance from the median: a standard deviation that outliers do not move."""
    return float(1.4826 * np.median(np.abs(numbers - np.median(numbers))))

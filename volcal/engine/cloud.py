"""A cloud made ready: outliers and duplicates gone, points in one order, spacing known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import Label, Refused
from .parameters import Parameters

Points = NDArray[np.float64]

_MAX_VOXELS = 30_000_000
_MIN_POINTS = 1000
_PER_CELL = 16  # points in a cell that measures density: few enough to follow it, enough for a stable median


@dataclass(frozen=True)
class Tidied:
    """points: (n, 3) metres from the origin. spacing_m: square root of area over points, median over the site."""

    points: Points
    spacing_m: float
    n_duplicates: int
    n_outliers: int


def tidy(points: Points, label: Label, parameters: Parameters) -> Tidied:
    """Drop duplicates and points that stand alone, and sort what stays by place.

    Everything later sees the same array whatever the order of the file was. Raises Refused if too little is left.
    """
    n_read = len(points)
    points = points[_in_box(points)]
    points = points[_by_place(points)]
    extent = _extent_of(points)
    if len(points) < _MIN_POINTS or min(extent[:2]) <= 0:
        text = f"{n_read:,} points are {len(points):,} places on {extent[0]:g} x {extent[1]:g} m, too few to measure."
        raise Refused("too_few_points", text + " Export the cloud again.", label)
    if max(extent) > parameters.max_extent_m:
        text = f"The cloud is {max(extent):,.0f} m wide, more than {parameters.max_extent_m:,.0f} m; crop it."
        raise Refused("too_wide", text, label)
    n_different = len(points)
    spacing = spacing_of(points)
    points = points[~_alone(points, spacing)]
    if len(points) < _MIN_POINTS:
        raise Refused("too_few_points", "Hardly any point has neighbours; export the cloud again.", label)
    return Tidied(points, spacing, n_read - n_different, n_different - len(points))


def _in_box(points: Points) -> NDArray[np.bool_]:
    """Mark points within the range of nearly all others: a single wild one must not stretch every grid."""
    low, high = np.quantile(points[:: max(1, len(points) // 200_000)], (0.005, 0.995), axis=0)
    margin = 0.5 * (high - low) + 10
    inside = np.ones(len(points), bool)
    for axis in range(3):  # column by column: comparing whole rows takes five times as long
        inside &= points[:, axis] >= low[axis] - margin[axis]
        inside &= points[:, axis] <= high[axis] + margin[axis]
    return inside


def _extent_of(points: Points) -> NDArray[np.float64]:
    return np.array([np.ptp(points[:, axis]) if len(points) else 0.0 for axis in range(3)])


def _by_place(points: Points) -> NDArray[np.intp]:
    """Return the order by place, one index for each different place.

    Places are told apart at a 2-millionth of the extent (0.15 mm on 300 m): 21 bits an axis fill one integer key.
    """
    if not len(points):
        return np.zeros(0, np.intp)
    low = [points[:, axis].min() for axis in range(3)]
    quantum = max(float(_extent_of(points).max()) / (2**21 - 1), 1e-6)
    x, y, z = (((points[:, axis] - low[axis]) / quantum).astype(np.int64) for axis in range(3))
    # Tiles of a thousandth of the site first, so that neighbours in space are neighbours in memory.
    key = (x >> 11) << 53 | (y >> 11) << 43 | (x & 2047) << 32 | (y & 2047) << 21 | z
    order = np.argsort(key)
    key = key[order]
    is_new = np.ones(len(key), bool)
    np.not_equal(key[1:], key[:-1], out=is_new[1:])
    return order[is_new]


def spacing_of(points: Points) -> float:
    """Return the mean distance of points in metres: one over the root of the median density of occupied cells."""
    width, depth = np.ptp(points[:, :2], axis=0)
    cell = float(np.sqrt(width * depth * _PER_CELL / len(points)))
    low = points[:, :2].min(axis=0)
    for _ in range(6):  # sparse footprints need smaller cells than their bounding box says
        column, row = (((points[:, axis] - low[axis]) / cell).astype(np.int64) for axis in range(2))
        counts = np.bincount(column * (row.max() + 1) + row)
        counts = counts[counts > 0]
        median = float(np.median(counts))
        if _PER_CELL / 2 <= median <= _PER_CELL * 2:
            break
        cell *= float(np.sqrt(_PER_CELL / median))
    return float(cell / np.sqrt(median))


def _alone(points: Points, spacing: float) -> NDArray[np.bool_]:
    """Mark points whose 27 voxels of three spacings hold hardly any other point: birds, dust, multipath."""
    low, extent = [points[:, axis].min() for axis in range(3)], _extent_of(points)
    edge = 3 * spacing
    while np.prod(extent / edge + 3) > _MAX_VOXELS:
        edge *= 1.25
    shape = tuple(int(one) + 1 for one in extent / edge)
    flat = np.zeros(len(points), np.int64)
    for axis in range(3):
        flat *= shape[axis]
        flat += ((points[:, axis] - low[axis]) / edge).astype(np.int64)
    counts = np.bincount(flat, minlength=int(np.prod(shape))).astype(np.int32).reshape(shape)
    for axis in range(3):
        counts = _with_next(counts, axis)
    around = counts.ravel()[flat]
    alone: NDArray[np.bool_] = around < max(3.0, 0.05 * float(np.median(around)))
    return alone


def _with_next(counts: NDArray[Any], axis: int) -> NDArray[Any]:
    """Add to each voxel the one before and the one behind it along an axis."""
    sums = counts.copy()
    ahead, behind = np.moveaxis(sums, axis, 0), np.moveaxis(counts, axis, 0)
    ahead[1:] += behind[:-1]
    ahead[:-1] += behind[1:]
    return sums

"""Heights on fine cells inside an area, from triangles between all points (TIN), and how rough the points are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from .area import inside
from .spikes import NEIGHBOURS, is_spike, off_plane

_TILE_POINTS = 150_000  # a triangulation takes about 0.5 kB a point
_MARGIN_SPACINGS = 5.0


@dataclass(frozen=True)
class Cells:
    """Centres (n, 2) of the square cells of an area, metres, and their place (n, 2) as row and column."""

    centres: NDArray[np.float64]
    places: NDArray[np.int64]
    cell_m: float


@dataclass(frozen=True)
class Heights:
    """One epoch in an area. heights_m: (n,) at cell centres, NaN outside the triangulation.

    roughness_m: standard deviation of a point from the plane of its neighbours, noise and unresolved shape together.
    density_m2: points per square metre.
    """

    heights_m: NDArray[np.float64]
    roughness_m: float
    density_m2: float


def cells_of(area: shapely.Geometry, cell_m: float) -> Cells:
    """List the cells whose centre lies in an area; they start at multiples of the cell, so that areas share none."""
    low_x, low_y, high_x, high_y = area.bounds
    columns = np.arange(np.floor(low_x / cell_m), np.ceil(high_x / cell_m))
    rows = np.arange(np.floor(low_y / cell_m), np.ceil(high_y / cell_m))
    found = []
    band = max(1, 2_000_000 // max(1, len(columns)))
    for start in range(0, len(rows), band):
        row, column = np.meshgrid(rows[start : start + band], columns, indexing="ij")
        places = np.column_stack((row.ravel(), column.ravel())).astype(np.int64)
        found.append(places[inside(area, (places[:, ::-1] + 0.5) * cell_m)])
    places = np.concatenate(found)
    return Cells(np.asarray((places[:, ::-1] + 0.5) * cell_m, np.float64), places, cell_m)


def heights_in(area: shapely.Geometry, points: NDArray[Any], cells: Cells, spacing_m: float) -> Heights:
    """Triangulate the points (n, 3) around an area and read the heights at its cells.

    Spikes are left out first.
    """
    near = _crop(area.buffer(_MARGIN_SPACINGS * spacing_m), points)
    rest, scatter = off_plane(near)
    kept = ~is_spike(rest, scatter)
    near, rest = near[kept], rest[kept]
    within = inside(area, near)
    # The plane of k neighbours is itself uncertain: its variance adds about 1/k, at the middle of them.
    roughness = float(np.sqrt(np.mean(rest[within] ** 2) / (1 + 1 / NEIGHBOURS))) if within.any() else np.nan
    heights = np.full(len(cells.centres), np.nan)
    for centres, corner, side in _tiles(cells.centres, near, spacing_m):
        margin = _MARGIN_SPACINGS * spacing_m
        part = near[((near[:, :2] >= corner - margin) & (near[:, :2] <= corner + side + margin)).all(axis=1)]
        if len(part) >= 4:
            heights[centres] = _interpolated(part, cells.centres[centres])
    return Heights(heights, roughness, float(within.sum() / area.area))


def _crop(area: shapely.Geometry, points: NDArray[Any]) -> NDArray[np.float64]:
    low_x, low_y, high_x, high_y = area.bounds
    x, y = points[:, 0], points[:, 1]
    boxed = np.asarray(points[(x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)])
    return boxed[inside(area, boxed)]


def _tiles(
    centres: NDArray[Any], points: NDArray[Any], spacing_m: float
) -> list[tuple[NDArray[np.intp], NDArray[Any], float]]:
    """Split cells into squares that hold about a triangulation's worth of points: (cells, low corner, side)."""
    side = float(np.sqrt(_TILE_POINTS) * spacing_m)
    if len(points) <= _TILE_POINTS:
        low = centres.min(axis=0)
        return [(np.arange(len(centres)), low, float((centres.max(axis=0) - low).max()))]
    low = np.floor(centres.min(axis=0) / side)
    column, row = (np.floor(centres / side) - low).astype(np.int64).T
    tile = row * (column.max() + 1) + column
    order = np.argsort(tile, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(tile[order])) + 1)
    return [(group, (low + np.array([column[group[0]], row[group[0]]])) * side, side) for group in groups]


def _interpolated(points: NDArray[Any], centres: NDArray[Any]) -> NDArray[np.float64]:
    middle = points[:, :2].mean(axis=0)  # near zero, where the triangulation's arithmetic is finest
    triangles = Delaunay(points[:, :2] - middle)
    triangle = triangles.find_simplex(centres - middle)
    affine = triangles.transform[triangle]
    first = np.einsum("nij,nj->ni", affine[:, :2], centres - middle - affine[:, 2])
    shares = np.column_stack((first, 1 - first.sum(axis=1)))
    heights: NDArray[np.float64] = (points[triangles.simplices[triangle], 2] * shares).sum(axis=1)
    heights[triangle < 0] = np.nan
    return heights

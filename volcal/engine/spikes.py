"""Single points off the ground that a plane through their neighbours gives away."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .plantree import PlanTree

NEIGHBOURS = 12
_BATCH = 100_000
_LIMIT = 6.0  # robust deviations of the neighbours from their own plane


def off_plane(points: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each point's height above the plane of its 12 neighbours, and those neighbours' own robust scatter; (n,).

    points: (n, 3) metres. Too few points to have neighbours have no height above them and an infinite scatter.
    """
    if len(points) <= NEIGHBOURS:
        return np.zeros(len(points)), np.full(len(points), np.inf)
    tree = PlanTree(points)
    rest, scatter = np.empty(len(points)), np.empty(len(points))
    for start in range(0, len(points), _BATCH):
        part = points[start : start + _BATCH]
        nearest = tree.neighbours(part, NEIGHBOURS + 1)[1][:, 1:]
        around = points[nearest] - part[:, None, :]
        x, y, z = (around[..., axis] - around[..., axis].mean(axis=1, keepdims=True) for axis in range(3))
        xx, xy, yy, xz, yz = ((a * b).sum(axis=1) for a, b in ((x, x), (x, y), (y, y), (x, z), (y, z)))
        determinant = np.maximum(xx * yy - xy * xy, 1e-12)
        slope_x, slope_y = (yy * xz - xy * yz) / determinant, (xx * yz - xy * xz) / determinant
        middle = around.mean(axis=1)
        rest[start : start + len(part)] = -(middle[:, 2] - slope_x * middle[:, 0] - slope_y * middle[:, 1])
        bends = np.abs(z - slope_x[:, None] * x - slope_y[:, None] * y)
        scatter[start : start + len(part)] = 1.4826 * np.median(bends, axis=1)
    return rest, np.maximum(scatter, float(np.median(scatter)))


def is_spike(rest: NDArray[Any], scatter: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the points that lie more than six robust deviations off; an edge raises that scatter, and so stays."""
    marked: NDArray[np.bool_] = np.abs(rest) > _LIMIT * scatter
    return marked

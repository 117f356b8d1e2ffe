"""The last step of registration: points of one cloud against small curved pieces of the other's ground."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .plantree import PlanTree
from .pose import Pose, about, moved
from .surface import nmad

STEP_SPACINGS = 3.0  # between the middles of pieces; each is twice as wide
_NEIGHBOURS = 40
_N_TERMS = 6  # 1, x, y, x^2, x y, y^2
_ROBUST_ROUNDS = 3
_ROUNDS = 10
_BATCH = 20_000
_TUKEY = 4.685  # deviations beyond which a residual counts for nothing


class Quadrics:
    """The ground of one cloud as pieces of second order, each fitted to the 40 points around its middle.

    GICP pairs single points and leaves most of the noise in: with 0.1 m of it, its pose strayed twice as far as the
    points allow (Cramer-Rao bound). A fit over 40 points, solved for all six movements, comes to that bound.
    """

    def __init__(self, points: NDArray[Any], places: NDArray[Any]) -> None:
        """points: (n, 3), places: (m, 2) middles of the pieces; metres."""
        self._middles = places
        self._terms = np.empty((len(places), _N_TERMS))
        self._scatter = np.empty(len(places))
        tree = PlanTree(points)
        for start in range(0, len(places), _BATCH):
            part = slice(start, start + _BATCH)
            away, nearest = tree.neighbours(places[part], min(_NEIGHBOURS, len(points)))
            around = points[nearest] - np.concatenate((places[part], np.zeros((len(away), 1))), axis=1)[:, None]
            self._terms[part], self._scatter[part] = _fitted(around, away[:, -1])
        self._scatter = np.maximum(self._scatter, 0.3 * float(np.median(self._scatter)))
        self._tree = PlanTree(places)

    def closing(self, points: NDArray[Any], reach_m: float) -> Pose:
        """Return the movement of the points (n, 3) that lays them on the ground.

        Weighted least squares over heights above the pieces (point to plane, Chen & Medioni 1992), reweighted (Tukey),
        until nothing moves by more than a three-hundredth of the scatter. Points farther than reach_m from a middle are
        left out.
        """
        pose = np.eye(4)
        centre, width = points.mean(axis=0), max(float(np.ptp(points, axis=0).max()), 1e-9)
        for _ in range(_ROUNDS):
            now = moved(pose, points)
            away, nearest = self._tree.nearest(now)
            now, nearest = now[away <= reach_m], nearest[away <= reach_m]
            heights, normals = self._above(now, nearest)
            deviation = self._scatter[nearest]
            rest = heights / deviation
            middle = np.median(rest)
            weights = _weights(rest - middle, max(nmad(rest), 1e-9))
            design = np.concatenate((normals, np.cross((now - centre) / width, normals)), axis=1) / deviation[:, None]
            weighted = design * weights[:, None]
            # Where shape leaves a movement undecided, as on a plane in surveyed coordinates, none is made.
            step = -np.linalg.lstsq(weighted.T @ design, weighted.T @ rest, rcond=1e-9)[0]
            pose = about(centre, step[3:] / width, step[:3]) @ pose
            if np.abs(step).max() < 3e-3 * float(np.median(self._scatter)):
                break
        return pose

    def _above(self, points: NDArray[Any], nearest: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return heights above the pieces, and the pieces' upward directions (-dz/dx, -dz/dy, 1) there."""
        x, y = (points[:, :2] - self._middles[nearest]).T
        level, a, b, c, d, e = self._terms[nearest].T
        ground = level + a * x + b * y + c * x * x + d * x * y + e * y * y
        return points[:, 2] - ground, np.column_stack((-a - 2 * c * x - d * y, -b - d * x - 2 * e * y, np.ones(len(x))))


def _fitted(around: NDArray[Any], width_m: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Fit a piece to each row of points. around: (m, k, 3) from the middles; width_m: (m,) reach of each row.

    Returns terms (m, 6) and the robust scatter of the points about their piece (m,), metres.
    """
    x, y = (around[..., axis] / width_m[:, None] for axis in range(2))
    level = np.median(around[..., 2], axis=1)
    z = around[..., 2] - level[:, None]
    design = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=-1)
    weights = np.ones_like(z)
    for _ in range(_ROBUST_ROUNDS):
        weighted = (design * weights[..., None]).swapaxes(1, 2)
        square = weighted @ design + 1e-9 * np.eye(_N_TERMS)
        terms = np.linalg.solve(square, weighted @ z[..., None])
        rest = z - (design @ terms)[..., 0]
        scatter = 1.4826 * np.median(np.abs(rest), axis=1) + 1e-9
        weights = _weights(rest, scatter[:, None])
    terms = terms[..., 0] / np.stack([width_m**power for power in (0, 1, 1, 2, 2, 2)], axis=1)
    terms[:, 0] += level
    return terms, scatter


def _weights(rest: NDArray[Any], scatter: NDArray[Any] | float) -> NDArray[Any]:
    share = rest / (_TUKEY * scatter)
    return np.where(np.abs(share) < 1, (1 - share**2) ** 2, 0.0)

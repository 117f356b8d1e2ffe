"""What stable ground says about the error of the pose elsewhere on the site."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .surface import nmad

_BLOCKS = 6  # along the longer side
_ROUNDS = 5


class ResidualPlane:
    """The plane through the distances on stable ground, with its uncertainty by a delete-one-block jackknife.

    Neighbouring core points share points and the ground's own warps, so that single residuals are no independent
    witnesses; blocks of a sixth of the site nearly are.
    """

    def __init__(self, xy: NDArray[Any], distance_m: NDArray[Any]) -> None:
        """xy: (n, 2), distance_m: (n,), metres."""
        self._middle, self._width = xy.mean(axis=0), max(float(np.ptp(xy, axis=0).max()), 1e-9)
        design = self._design(xy)
        plane, weights = np.array([float(np.median(distance_m)), 0.0, 0.0]), np.ones(len(xy))
        for _ in range(_ROUNDS):
            rest = distance_m - design @ plane
            scale = 4.685 * max(nmad(rest), 1e-9)
            weights = np.where(np.abs(rest) < scale, (1 - (rest / scale) ** 2) ** 2, 0.0)
            plane = _solved(design.T @ (design * weights[:, None]), design.T @ (distance_m * weights))
        self._plane = plane
        block = np.floor((xy - xy.min(axis=0)) / (self._width / _BLOCKS * 1.0001)).astype(int)
        label = np.unique(block, axis=0, return_inverse=True)[1].ravel()
        squares, products = [], []
        for one in range(label.max() + 1):
            part = label == one
            weighted = design[part] * weights[part, None]
            squares.append(design[part].T @ weighted)
            products.append(weighted.T @ distance_m[part])
        whole, target = sum(squares), sum(products)
        self._without = np.array([_solved(whole - a, target - b) for a, b in zip(squares, products, strict=True)])

    def deviation_at(self, place: NDArray[Any]) -> float:
        """Return the standard deviation of the pose's height error at a place (2,), metres: what the plane shows there
        and what it cannot know."""
        design = self._design(place[None, :])[0]
        shown = float(design @ self._plane)
        others = self._without @ design
        n = len(others)
        unknown = (n - 1) / n * float(((others - others.mean()) ** 2).sum())
        return float(np.sqrt(shown**2 + unknown))

    def _design(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        return np.column_stack((np.ones(len(xy)), (xy - self._middle) / self._width))


def _solved(square: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    # Stable ground in one line leaves a tilt undecided; the smallest one is taken then.
    return np.linalg.lstsq(square, target, rcond=1e-9)[0]

"""The last step of registration: points of one cloud against small curved pieces of the other's ground."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .plantree import PlanTree
from .pose import Pose, about, moved
from .surface import nmad
from .thinning import Thinned
from .threads import at_once

STEP_SPACINGS = 3.0  # between the middles of pieces; each is twice as wide
_NEIGHBOURS = 40
_N_TERMS = 6  # 1, x, y, x^2, x y, y^2
_ROBUST_ROUNDS = 3
_ROUNDS = 10
_BATCH = 5_000
_LEAST_POINTS = 40
_TUKEY = 4.685  # deviations beyond which a residual counts for nothing
_MOST_ASIDE = 0.2  # of a piece's reach, from its middle to the mean of its points; half a disc has it at 0.42
_MOST_DEVIATIONS = 4.0  # of a piece whose ground did not change
_LEAST_INFORMATION = 1.2  # of a movement, in what the noise of slopes alone feigns
_TOGETHER = 12  # pieces that are asked about one
_ALIKE = 50  # pieces around one whose scatter it has, unless it is rougher by more than chance
_ROUGHER = 1.5
_UPRIGHT = slice(2, 5)  # z, and the turns about x and y


class Quadrics:
    """The ground of one cloud as pieces of second order, each fitted to the 40 points around its middle.

    GICP pairs single points and leaves most of the noise in: with 0.1 m of it, its pose strayed twice as far as the
    points allow (Cramer-Rao bound). A fit over 40 points, solved for all six movements, comes to that bound.

    middles: (m, 2) metres; scatter: (m,) of single points about their piece, metres; level_noise, slope_noise: (m,)
    what that does to the piece's height and slopes; around: (m, up to 50) numbers of the pieces nearest to each, itself
    first. Pieces with points on one side only, as at the edge of a survey, are left out: another survey that goes on
    beyond would be laid on a guess.
    """

    def __init__(self, cloud: Thinned, places: NDArray[Any]) -> None:
        """places: (m, 2) where pieces are wanted, metres."""
        tree = PlanTree(cloud.points)
        n = min(_NEIGHBOURS, len(cloud.points))

        def fitted(part: NDArray[Any]) -> tuple[NDArray[Any], ...]:
            away, nearest = tree.neighbours(part, n)
            around = cloud.points[nearest] - np.concatenate((part, np.zeros((len(part), 1))), axis=1)[:, None]
            is_sided = np.linalg.norm(around[..., :2].mean(axis=1), axis=1) > _MOST_ASIDE * away[:, -1]
            return *_fitted(around, cloud.counts[nearest], away[:, -1]), ~is_sided

        parts = [places[start : start + _BATCH] for start in range(0, max(len(places), 1), _BATCH)]
        *found, kept = map(np.concatenate, zip(*at_once(fitted, parts), strict=True))
        self.middles = places[kept]
        self._terms, self.scatter, self.level_noise, self.slope_noise = (one[kept] for one in found)
        self.scatter = np.maximum(self.scatter, 0.3 * float(np.median(self.scatter)))
        self._tree = PlanTree(self.middles)
        # Told from 40 points each, scatter varies by 15 % by chance; weights that did so too cost a tenth of accuracy.
        self.around = self._tree.neighbours(self.middles, min(_ALIKE, len(self.middles)))[1]
        usual = np.median(self.scatter[self.around], axis=1)
        self.scatter = np.where(self.scatter < _ROUGHER * usual, usual, self.scatter)

    def nearest(self, points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Return how far the nearest middle is in plan, metres, and its number, (n,) each."""
        return self._tree.nearest(points)

    def above(self, points: NDArray[Any], piece: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return heights above the pieces, and the pieces' upward directions (-dz/dx, -dz/dy, 1) there."""
        x, y = (points[:, :2] - self.middles[piece]).T
        level, a, b, c, d, e = self._terms[piece].T
        ground = level + a * x + b * y + c * x * x + d * x * y + e * y * y
        return points[:, 2] - ground, np.column_stack((-a - 2 * c * x - d * y, -b - d * x - 2 * e * y, np.ones(len(x))))


class Overlay:
    """Points of the other cloud, each on the piece that is nearest to it; those further than reach_m left out.

    They are near enough to keep their pieces while they are moved, and all movements count from where they are now.
    pieces: (m,) which of them to look at.
    """

    def __init__(self, ground: Quadrics, cloud: Thinned, reach_m: float) -> None:
        away, piece = ground.nearest(cloud.points)
        near = away <= reach_m
        self._ground, self._points, self._piece = ground, cloud.points[near], piece[near]
        self._deviation = ground.scatter[self._piece] / np.sqrt(cloud.counts[near])

    def closing(self, movement: Pose, pieces: NDArray[np.bool_], *, only_upright: bool = False) -> Pose:
        """Return the movement that lays the points on these pieces, searched from one near it.

        Weighted least squares over heights above the pieces (point to plane, Chen & Medioni 1992), reweighted (Tukey),
        until nothing moves by more than a three-hundredth of the scatter. only_upright: height and tilt alone.
        What the slopes do not decide, as on a plane, is left as it is: their noise alone would move it at random.
        """
        kept = pieces[self._piece]
        points, piece = self._points[kept], self._piece[kept]
        if len(points) < _LEAST_POINTS:  # whoever judges the pose afterwards finds too little ground and says so
            return movement
        deviation = self._deviation[kept]
        centre = points.mean(axis=0)
        width = max(float(np.sqrt(((points - centre) ** 2).sum(axis=1).mean())), 1e-9)
        free = _UPRIGHT if only_upright else slice(None)
        now = moved(movement, points)
        heights, normals = self._ground.above(now, piece)
        design = np.concatenate((normals, np.cross((now - centre) / width, normals)), axis=1)[:, free]
        design, before = design / deviation[:, None], heights / deviation
        noise = (self._ground.slope_noise[piece] / deviation) ** 2
        enough = 3e-3 * float(np.median(self._ground.scatter))
        step = np.zeros(6)
        for _ in range(_ROUNDS):
            rest = before + design @ step[free]  # pieces bend too little to matter within a step
            middle = np.median(rest)
            weights = _weights(rest - middle, max(nmad(rest), 1e-9))
            weighted = design * weights[:, None]
            more = -_solved(weighted.T @ design, weighted.T @ rest, _LEAST_INFORMATION * float(weights @ noise))
            step[free] += more
            if np.abs(more).max() < enough:
                break
        return about(centre, step[3:] / width, step[:3]) @ movement

    def misfit(self, movement: Pose, pieces: NDArray[np.bool_]) -> float:
        """Return the sum of squares of heights above these pieces, in deviations; strays count as where weights end."""
        kept = pieces[self._piece]
        heights, _ = self._ground.above(moved(movement, self._points[kept]), self._piece[kept])
        return float(np.minimum((heights / self._deviation[kept]) ** 2, _TUKEY**2).sum())

    def unchanged(self, movement: Pose, aside_m: float) -> NDArray[np.bool_]:
        """Tell (m,) on which pieces the points lie as they should: scatter explains their median.

        Change that is wide and shallow is too little for one piece alone; those around it are asked as well.
        aside_m: how far the movement may be from its place.
        """
        ground = self._ground
        heights, normals = ground.above(moved(movement, self._points), self._piece)
        order = np.lexsort((heights, self._piece))
        found, starts, counts = np.unique(self._piece[order], return_index=True, return_counts=True)
        median, allowed, slack = np.zeros((3, len(ground.middles)))
        median[found] = heights[order][starts + counts // 2]
        # A median strays by 1.25 deviations of a mean.
        of_mean = np.sqrt(np.bincount(self._piece, self._deviation**2)[found]) / counts
        deviation = np.hypot(1.25 * of_mean, ground.level_noise[found])
        allowed[found] = _MOST_DEVIATIONS * deviation
        slack[found] = aside_m * np.linalg.norm(normals[order][starts, :2], axis=1)
        around = ground.around[:, :_TOGETHER]
        n_around = np.maximum((allowed[around] > 0).sum(axis=1), 1)
        together, allowed_together = median[around].sum(axis=1) / n_around, allowed[around].sum(axis=1) / n_around**1.5
        is_alike = (np.abs(median) < allowed + slack) & (np.abs(together) < allowed_together + slack)
        return np.asarray(is_alike & (allowed > 0))


def _solved(square: NDArray[Any], right: NDArray[Any], least: float) -> NDArray[Any]:
    """Solve the normal equations, but for the directions that less than the least information is known of."""
    known, directions = np.linalg.eigh(square)
    kept = known > max(least, 1e-9 * known[-1])
    return np.asarray(directions[:, kept] @ ((directions[:, kept].T @ right) / known[kept]))


def _fitted(
    around: NDArray[Any], counts: NDArray[np.intp], width_m: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Fit a piece to each row of points.

    around: (m, k, 3) from the middles; counts: (m, k) of the points that each stands for; width_m: (m,) reach of a row.
    Returns terms (m, 6), the robust scatter of single points about their piece, metres, and the errors that it gives to
    its height, metres, and to slopes, (m,) each.
    """
    x, y = (around[..., axis] / width_m[:, None] for axis in range(2))
    level = np.median(around[..., 2], axis=1)
    z = around[..., 2] - level[:, None]
    design = np.stack((np.ones_like(x), x, y, x * x, x * y, y * y), axis=-1)
    sharpness = np.sqrt(counts)
    weights: NDArray[Any] = counts
    for _ in range(_ROBUST_ROUNDS):
        weighted = (design * weights[..., None]).swapaxes(1, 2)
        square = weighted @ design + 1e-9 * np.eye(_N_TERMS)
        terms = np.linalg.solve(square, weighted @ z[..., None])
        rest = (z - (design @ terms)[..., 0]) * sharpness
        scatter = 1.4826 * np.median(np.abs(rest), axis=1) + 1e-9
        weights = counts * _weights(rest, scatter[:, None])
    variance = np.diagonal(np.linalg.inv(square), axis1=1, axis2=2)
    # Of dz/dx and dz/dy where a point is, half a reach from the middle on average: b + 2 c x + d y.
    of_slopes = (variance[:, 1] + variance[:, 2]) / 2 + (variance[:, 3] + variance[:, 5]) / 4 + variance[:, 4] / 8
    terms = terms[..., 0] / np.stack([width_m**power for power in (0, 1, 1, 2, 2, 2)], axis=1)
    terms[:, 0] += level
    return terms, scatter, scatter * np.sqrt(variance[:, 0]), scatter * np.sqrt(of_slopes) / width_m


def _weights(rest: NDArray[Any], scatter: NDArray[Any] | float) -> NDArray[Any]:
    share = rest / (_TUKEY * scatter)
    return np.where(np.abs(share) < 1, (1 - share**2) ** 2, 0.0)

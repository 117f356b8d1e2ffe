"""The pose of post on pre by shape: a ladder of GICP, and what makes its answer trustworthy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import small_gicp
from numpy.typing import NDArray

from .errors import Refused
from .plantree import PlanTree
from .pose import Pose, about, largest_shift, moved, turn_deg
from .thinning import Thinned, thinned

_ITERATIONS = 40
_MOST_SOURCE_POINTS = 15_000  # of post at each level: enough to tell hypotheses apart
_LEAST_AGREEMENT = 0.5
_LEAST_GAP = 0.1
_NEIGHBOURS = 12
_TALL = 4.0


@dataclass(frozen=True)
class Level:
    """One rung: both clouds thinned to a voxel, pairs up to the reach."""

    voxel_m: float
    reach_m: float


@dataclass(frozen=True)
class Fit:
    """A pose and how well the clouds agree under it.

    agreement: share of the overlapping points of post within tolerance_m of pre's surface.
    overlap: share of the smaller cloud's footprint that the other covers.
    """

    pose: Pose
    agreement: float
    overlap: float
    tolerance_m: float


@dataclass(frozen=True)
class Found:
    """The accepted pose, and the evidence: the next best agreement elsewhere, and the largest stray of new starts."""

    fit: Fit
    next_agreement: float
    stray_m: float
    n_hypotheses: int


def base_voxel(spacing_m: float, width_m: float) -> float:
    """Return the finest voxel of the ladder: 1.2 spacings, but at most 600 across a site, whatever its density."""
    return max(1.2 * spacing_m, width_m / 600)


class Ladder:
    """Two clouds prepared at each level once, registered from any number of starts."""

    def __init__(self, pre: NDArray[Any], post: NDArray[Any], levels: list[Level], threads: int) -> None:
        self.levels = levels
        self._threads = threads
        self._pairs = []
        for level in reversed(levels):  # each coarser level thins the one before
            pre, post = (thinned(one, level.voxel_m).points for one in (pre, post))
            step = max(1, len(post) // _MOST_SOURCE_POINTS)
            (target, tree), (source, _) = _prepared(pre, threads), _prepared(post[::step], threads)
            self._pairs.append((target, tree, source))
        self._pairs.reverse()

    def climb(self, start: Pose, *, first: int = 0, last: int | None = None) -> Pose:
        """Register from a start, level by level, from level `first` to `last`."""
        pose = start
        rungs = slice(first, None if last is None else last + 1)
        for level, (target, tree, source) in zip(self.levels[rungs], self._pairs[rungs], strict=True):
            pose = small_gicp.align(
                target,
                source,
                tree,
                init_T_target_source=pose,
                registration_type="GICP",
                max_correspondence_distance=level.reach_m,
                num_threads=self._threads,
                max_iterations=_ITERATIONS,
                rotation_epsilon=1e-5,
                translation_epsilon=1e-3 * level.voxel_m,
            ).T_target_source
        return np.asarray(pose)

    def agreement(self, level: int) -> Agreement:
        """Return the judge of poses at a level."""
        target, _, source = self._pairs[level]
        voxel = self.levels[level].voxel_m
        return Agreement(target.points()[:, :3], target.normals()[:, :3], source.points()[:, :3], voxel)

    def corners(self) -> NDArray[np.float64]:
        """Return the four corners of post at its median height, (4, 3) metres."""
        points = self._pairs[-1][2].points()[:, :3]
        low, high, middle = points.min(axis=0), points.max(axis=0), float(np.median(points[:, 2]))
        return np.array([[x, y, middle] for x in (low[0], high[0]) for y in (low[1], high[1])])


def on_ground(points: NDArray[Any], width_m: float) -> Thinned:
    """Thin a cloud by cells of this width, four times as tall as they are wide.

    Cubes part the ground where their floors lie within its noise, and the means of either part keep most of it: with
    0.1 m of noise and cubes of 0.5 m, means of three points scattered by 0.096 m instead of 0.06.
    """
    return thinned(points, width_m, _TALL * width_m)


def _prepared(points: NDArray[Any], threads: int) -> tuple[small_gicp.PointCloud, small_gicp.KdTree]:
    cloud = small_gicp.PointCloud(points)
    tree = small_gicp.KdTree(cloud, num_threads=threads)
    small_gicp.estimate_normals_covariances(cloud, tree, num_neighbors=_NEIGHBOURS, num_threads=threads)
    return cloud, tree


def search_ladder(pre: NDArray[Any], post: NDArray[Any], base_m: float, threads: int) -> Ladder:
    """Prepare the two coarse levels that compare hypotheses. pre, post: (n, 3), thinned to the base voxel."""
    levels = [Level(6 * base_m, 16 * base_m), Level(3 * base_m, 6 * base_m)]
    return Ladder(pre, post, levels, threads)


def search(ladder: Ladder, starts: list[Pose], *, min_overlap: float, report: Callable[[float], None]) -> Found:
    """Register from every start and accept the best only if the shape of the ground decides for it.

    Raises Refused("ambiguous_registration") if no start fits well, if a different pose fits about as well, or if new
    starts around the best do not come back to it (a plane slides, a cone turns); Refused("no_overlap") if the clouds
    hardly cover each other.
    """
    corners = ladder.corners()
    poses = []
    for n, start in enumerate(starts):
        poses.append(ladder.climb(start, last=0))
        report(0.4 * (n + 1) / len(starts))
    first = _judged(ladder.agreement(0), poses)
    # A start far behind at the first level cannot catch up, and far-away pairs make its next level slow.
    bar = 0.5 * max(one.agreement * (one.overlap >= min_overlap) for one in first)
    poses = [ladder.climb(one.pose, first=1) for one in first if one.agreement >= bar]
    fits = _judged(ladder.agreement(1), poses)
    best = max(fits, key=lambda one: one.agreement * (one.overlap >= min_overlap))
    if best.overlap < min_overlap:
        text = f"The clouds cover {best.overlap:.0%} of each other at best; {min_overlap:.0%} are needed."
        raise Refused("no_overlap", text + " Survey the same ground both times.", "post")
    if best.agreement < _LEAST_AGREEMENT:
        text = f"At best {best.agreement:.0%} of the ground agrees within {best.tolerance_m:.2f} m: no pose fits."
        raise _ambiguous(text)
    voxel = ladder.levels[-1].voxel_m
    others = [
        one.agreement
        for one in fits
        if one.overlap >= min_overlap and largest_shift(one.pose, best.pose, corners) > voxel
    ]
    nearest = max(others, default=0.0)
    if nearest > best.agreement - _LEAST_GAP:
        text = f"Two different poses fit: {best.agreement:.0%} and {nearest:.0%} of the ground agree."
        raise _ambiguous(text)
    stray = _stray(ladder, best.pose, corners, report)
    if stray > voxel:
        text = f"The ground has too little shape: started {3 * voxel:.1f} m aside, the pose ends {stray:.1f} m apart."
        raise _ambiguous(text)
    return Found(best, nearest, stray, len(starts))


def _ambiguous(text: str) -> Refused:
    advice = (
        "Survey more of the fixed surroundings, or, if both clouds are already in surveyed coordinates, "
        "set alignment to given."
    )
    return Refused("ambiguous_registration", f"{text} {advice}", None)


def _stray(ladder: Ladder, pose: Pose, corners: NDArray[Any], report: Callable[[float], None]) -> float:
    """Start anew a little aside and turned; return how far from the pose the ladder then ends at most, metres.

    Where shape decides, all come back; where it does not, each stays about where it was put.
    """
    centre, aside = moved(pose, corners).mean(axis=0), 3 * ladder.levels[-1].voxel_m
    last = len(ladder.levels) - 1
    strays = []
    for n, (x, y, turn) in enumerate(((1, 0, 1), (-1, 0, -1), (0, 1, -1), (0, -1, 1))):
        nudge = about(centre, np.array([0, 0, np.radians(1.0 * turn)]), aside * np.array([x, y, 0]))
        strays.append(largest_shift(ladder.climb(nudge @ pose, first=last), pose, corners))
        report(0.6 + 0.4 * (n + 1) / 4)
    return max(strays)


class Agreement:
    """How well post lies on pre's surface under a pose, by point-to-plane distances of plan neighbours."""

    def __init__(self, pre: NDArray[Any], normals: NDArray[Any], post: NDArray[Any], voxel_m: float) -> None:
        self._pre, self._normals, self._voxel = pre, normals, voxel_m
        self._tree = PlanTree(pre)
        self._post = post[:: max(1, len(post) // 40_000)]
        self._area = min(_n_plan_cells(pre, 2 * voxel_m), _n_plan_cells(post, 2 * voxel_m))

    def signed(self, pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the overlapping points of post (m, 3) and their heights above pre's tangent planes (m,), metres."""
        points = moved(pose, self._post)
        away, nearest = self._tree.nearest(points)
        near = away < 2 * self._voxel
        points, nearest = points[near], nearest[near]
        normals = self._normals[nearest] * np.sign(self._normals[nearest, 2:])
        return points, ((points - self._pre[nearest]) * normals).sum(axis=1)

    def covering(self, pose: Pose) -> tuple[NDArray[np.float64], float]:
        """Return those heights, and the share of the smaller footprint that is covered."""
        points, heights = self.signed(pose)
        return heights, min(1.0, _n_plan_cells(points, 2 * self._voxel) / self._area)


def _judged(measure: Agreement, poses: list[Pose]) -> list[Fit]:
    """Judge poses with one tolerance: three deviations of the one whose nearer half fits best."""
    seen = [measure.covering(pose) for pose in poses]
    tolerance = min(_tolerance(heights) for heights, _ in seen)
    return [
        Fit(pose, float((np.abs(heights) <= tolerance).mean()) if len(heights) else 0.0, overlap, tolerance)
        for pose, (heights, overlap) in zip(poses, seen, strict=True)
    ]


def _tolerance(residuals: NDArray[Any]) -> float:
    # The 40 % nearest only: a wide change must not loosen the measure. 0.524 is that quantile of |N(0, 1)|.
    return 3 * float(np.quantile(np.abs(residuals), 0.4)) / 0.524 if len(residuals) else np.inf


def _n_plan_cells(points: NDArray[Any], cell_m: float) -> int:
    column, row = np.floor(points[:, :2] / cell_m).astype(np.int64).T
    return len(np.unique(column * 4_000_037 + row))


def describe(found: Found) -> dict[str, float]:
    """Return the evidence for the report."""
    return {
        "agreement": found.fit.agreement,
        "next_agreement": found.next_agreement,
        "overlap": found.fit.overlap,
        "tolerance_m": found.fit.tolerance_m,
        "stray_m": found.stray_m,
        "turn_deg": turn_deg(found.fit.pose),
    }

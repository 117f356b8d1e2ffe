"""Where the second cloud may lie on the first: all headings, by the shape of the ground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from .pose import Pose, about
from .surface import Surface, frame_of, nmad, relief_of, surface_of

_STEP_DEG = 2.5
_SIGMA_CELLS = 5.0
_CELLS = 110  # of the longer side
_BATCH = 8
_N_BEST = 5
_ROUNDS = 10


@dataclass(frozen=True)
class _Peak:
    score: float
    yaw_deg: float
    shift_cells: tuple[int, int]  # rows, columns


def hypotheses(
    pre: NDArray[Any], post: NDArray[Any], *, spacing_m: float, min_overlap: float, report: Callable[[float], None]
) -> list[Pose]:
    """List the most likely poses of post on pre, the best first, told apart by heading or place.

    pre, post: (n, 3) metres. Both become height maps of about 110 cells whose wide shape is taken out; for each of 144
    headings one masked normalised cross-correlation scores all shifts at once (Padfield 2012). Tilt up to about ten
    degrees is a plane in the difference of heights, which the relief does not see; a robust plane fit then finds it.
    """
    width = max(np.ptp(pre[:, :2], axis=0).max(), np.ptp(post[:, :2], axis=0).max())
    cell = float(max(3 * spacing_m, width / _CELLS))
    target, source = (surface_of(one, *frame_of(one, cell), cell) for one in (pre, post))
    peaks: list[_Peak] = []
    headings = np.arange(0, 360, _STEP_DEG)
    correlate = _Correlator(target, source, min_overlap)
    for start in range(0, len(headings), _BATCH):
        peaks += correlate(headings[start : start + _BATCH])
        report((start + _BATCH) / len(headings))
    return [_pose_of(peak, target, source) for peak in _apart(peaks)]


class _Correlator:
    """Masked normalised cross-correlation of one target with a source at many headings."""

    def __init__(self, target: Surface, source: Surface, min_overlap: float) -> None:
        self._relief = relief_of(source, _SIGMA_CELLS)
        self._known = source.is_known.astype(float)
        self._side = int(np.ceil(np.hypot(*source.heights.shape))) + 2
        rows, columns = target.heights.shape
        self._shape = tuple(fft.next_fast_len(n + self._side, real=True) for n in (rows, columns))
        g = relief_of(target, _SIGMA_CELLS).astype(np.float32)
        mask = target.is_known.astype(np.float32)
        self._target = fft.rfft2(np.stack((g, g * g, mask)), self._shape, workers=2)
        self._least = min_overlap * min(self._known.sum(), mask.sum())

    def __call__(self, headings_deg: NDArray[Any]) -> list[_Peak]:
        turned = np.empty((len(headings_deg), 2, self._side, self._side), np.float32)
        for n, heading in enumerate(headings_deg):
            mask = turned_map(self._known, heading, self._side) > 0.5
            turned[n, 0] = np.where(mask, turned_map(self._relief, heading, self._side), 0)
            turned[n, 1] = mask
        f, mask_f = (np.conj(fft.rfft2(turned[:, n], self._shape, workers=2)) for n in (0, 1))
        f2 = np.conj(fft.rfft2(turned[:, 0] ** 2, self._shape, workers=2))
        g, g2, mask_g = self._target
        product, energy_g, energy_f, overlap = (
            fft.irfft2(one, self._shape, workers=2) for one in (f * g, mask_f * g2, f2 * mask_g, mask_f * mask_g)
        )
        likeness = product / np.sqrt(np.maximum(energy_f * energy_g, 1e-6))
        # The same likeness over more ground says more.
        scores = np.where(overlap >= self._least, likeness * np.sqrt(np.maximum(overlap, 0)), -np.inf)
        return [peak for n, heading in enumerate(headings_deg) for peak in self._peaks(scores[n], float(heading))]

    def _peaks(self, scores: NDArray[Any], heading_deg: float) -> list[_Peak]:
        found = []
        for _ in range(2):
            row, column = np.unravel_index(int(np.argmax(scores)), scores.shape)
            if not np.isfinite(scores[row, column]):
                break
            shift = tuple(
                int(at) - size if at >= size - self._side else int(at)
                for at, size in zip((row, column), self._shape, strict=True)
            )
            found.append(_Peak(float(scores[row, column]), heading_deg, (shift[0], shift[1])))
            around = np.arange(-4, 5)
            scores[np.ix_((row + around) % scores.shape[0], (column + around) % scores.shape[1])] = -np.inf
        return found


def turned_map(values: NDArray[Any], heading_deg: float, side: int) -> NDArray[Any]:
    """Return a map turned counter-clockwise about its middle, on a square of `side` cells, 0 outside."""
    cos, sin = np.cos(np.radians(heading_deg)), np.sin(np.radians(heading_deg))
    back = np.array([[cos, -sin], [sin, cos]])  # from turned (row, column) to the source's
    middle = (np.array(values.shape) - 1) / 2
    offset = middle - back @ np.full(2, (side - 1) / 2)
    turned: NDArray[Any] = ndimage.affine_transform(values, back, offset, (side, side), order=1)
    return turned


def _apart(peaks: list[_Peak]) -> list[_Peak]:
    """Keep the best peaks that differ by more than 8 degrees or 4 cells."""
    kept: list[_Peak] = []
    for peak in sorted(peaks, key=lambda one: (-one.score, one.yaw_deg)):
        is_new = all(
            abs((peak.yaw_deg - one.yaw_deg + 180) % 360 - 180) > 8
            or max(abs(a - b) for a, b in zip(peak.shift_cells, one.shift_cells, strict=True)) > 4
            for one in kept
        )
        if is_new:
            kept.append(peak)
        if len(kept) == _N_BEST:
            break
    return kept


def _pose_of(peak: _Peak, target: Surface, source: Surface) -> Pose:
    """Return the pose of a peak, with tilt and height from a robust plane through the difference of heights."""
    cell, side = target.cell_m, int(np.ceil(np.hypot(*source.heights.shape))) + 2
    known = turned_map(source.is_known.astype(float), peak.yaw_deg, side) > 0.99
    level = float(np.nanmedian(source.heights))
    heights = turned_map(np.nan_to_num(source.heights, nan=level) - level, peak.yaw_deg, side)
    rows, columns = np.nonzero(known)
    at_row, at_column = rows + peak.shift_cells[0], columns + peak.shift_cells[1]
    inside = (at_row >= 0) & (at_row < target.heights.shape[0]) & (at_column >= 0)
    inside &= at_column < target.heights.shape[1]
    below = target.heights[at_row[inside], at_column[inside]]
    seen = np.isfinite(below)
    xy = (np.column_stack((at_column, at_row))[inside][seen] + 0.5) * cell + target.low
    plane = robust_plane(xy - xy.mean(axis=0), below[seen] - heights[rows[inside], columns[inside]][seen])

    middle_source = np.array(source.low) + cell * np.array(source.heights.shape[::-1]) / 2
    middle_target = np.array(target.low) + cell * (side / 2 + np.array(peak.shift_cells[::-1]))
    yaw = about(
        np.array([*middle_source, level]),
        np.array([0, 0, np.radians(peak.yaw_deg)]),
        np.array([*(middle_target - middle_source), plane[0]]),
    )
    pivot = np.array([*xy.mean(axis=0), float(np.median(below[seen]))])
    slopes = np.arctan(plane[1:])
    return about(pivot, np.array([slopes[1], -slopes[0], 0.0]), np.zeros(3)) @ yaw


def robust_plane(xy: NDArray[Any], heights: NDArray[Any]) -> NDArray[Any]:
    """Fit height = a + b x + c y, ten rounds of reweighting (Tukey); returns (a, b, c). xy: (n, 2) metres."""
    design = np.column_stack((np.ones(len(xy)), xy))
    # From a level plane, not from least squares: a minority that moved must not tilt the start.
    plane = np.array([float(np.median(heights)), 0.0, 0.0])
    for _ in range(_ROUNDS):
        rest = heights - design @ plane
        scale = 4.685 * max(nmad(rest), 1e-6)
        root = np.where(np.abs(rest) < scale, 1 - (rest / scale) ** 2, 0)
        plane = np.linalg.lstsq(design * root[:, None], heights * root, rcond=None)[0]
    return plane

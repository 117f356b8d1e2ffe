"""Where the second cloud may lie on the first: all headings, by the shape of the ground."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .plane import robust_plane
from .pose import Pose, about
from .surface import Grid, Surface, frame_of, nmad, surface_of
from .threads import at_once

_STEP_DEG = 2.5
_SIGMA_CELLS = 5.0
_CELLS = 110  # of the longer side
_BATCH = 24
_N_BEST = 5


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
        for found in at_once(correlate, [float(one) for one in headings[start : start + _BATCH]]):
            peaks += found
        report((start + _BATCH) / len(headings))
    return [_pose_of(peak, target, source) for peak in _apart(peaks)]


class _Correlator:
    """Masked normalised cross-correlation of one target with a source at many headings."""

    def __init__(self, target: Surface, source: Surface, min_overlap: float) -> None:
        known = source.is_known.astype(np.float32)
        self._maps = np.stack((relief_of(source, _SIGMA_CELLS).astype(np.float32), known))
        self._side = int(np.ceil(np.hypot(*source.heights.shape))) + 2
        rows, columns = target.heights.shape
        self._shape = tuple(_fast_length(n + self._side) for n in (rows, columns))
        g = relief_of(target, _SIGMA_CELLS).astype(np.float32)
        mask = target.is_known.astype(np.float32)
        self._target = np.fft.rfft2(np.stack((g, g * g, mask)), self._shape)
        self._least = min_overlap * min(known.sum(), mask.sum())

    def __call__(self, heading_deg: float) -> list[_Peak]:
        relief, known = turned_maps(self._maps, heading_deg, self._side)
        mask = known > 0.5
        turned = np.stack((np.where(mask, relief, 0), mask, np.where(mask, relief**2, 0))).astype(np.float32)
        f, mask_f, f2 = np.conj(np.fft.rfft2(turned, self._shape))
        g, g2, mask_g = self._target
        products = np.stack((f * g, mask_f * g2, f2 * mask_g, mask_f * mask_g))
        product, energy_g, energy_f, overlap = np.fft.irfft2(products, self._shape)
        likeness = product / np.sqrt(np.maximum(energy_f * energy_g, 1e-6))
        # The same likeness over more ground says more.
        scores = np.where(overlap >= self._least, likeness * np.sqrt(np.maximum(overlap, 0)), -np.inf)
        return self._peaks(scores, heading_deg)

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


def turned_maps(maps: NDArray[Any], heading_deg: float, side: int) -> NDArray[Any]:
    """Return maps (k, rows, cols) turned counter-clockwise about their middle, on squares of `side` cells, 0 outside.

    Between four cells the heights are weighted by nearness (bilinear).
    """
    rows, columns = maps.shape[1:]
    cos, sin = np.cos(np.radians(heading_deg)), np.sin(np.radians(heading_deg))
    at = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    row = np.float32(cos) * at[:, None] - np.float32(sin) * at + np.float32((rows - 1) / 2)
    column = np.float32(sin) * at[:, None] + np.float32(cos) * at + np.float32((columns - 1) / 2)
    inside = (row >= 0) & (row <= rows - 1) & (column >= 0) & (column <= columns - 1)
    row, column = row[inside], column[inside]
    low, left = np.minimum(row.astype(np.intp), rows - 2), np.minimum(column.astype(np.intp), columns - 2)
    up, right = row - low, column - left
    flat, cell = maps.reshape(len(maps), -1), low * columns + left
    below = flat[:, cell] * (1 - right) + flat[:, cell + 1] * right
    above = flat[:, cell + columns] * (1 - right) + flat[:, cell + columns + 1] * right
    turned = np.zeros((len(maps), side, side), np.float32)
    turned[:, inside] = below * (1 - up) + above * up
    return turned


def relief_of(surface: Surface, sigma_cells: float) -> Grid:
    """Return heights without the wide shape of the site, at most three robust deviations, 0 where unknown."""
    known = surface.is_known
    along, across = (_gaussian(n, sigma_cells) for n in known.shape)
    smooth = along @ np.where(known, surface.heights, 0.0) @ across / np.maximum(along @ known @ across, 1e-9)
    relief = np.where(known, surface.heights - smooth, 0.0)
    limit = 3 * nmad(relief[known])
    return np.clip(relief, -limit, limit)


def _gaussian(n: int, sigma: float) -> NDArray[np.float64]:
    """Return the matrix that smooths a column of n cells; (n, n), symmetric. Such grids are small enough for it."""
    away = np.subtract.outer(np.arange(n), np.arange(n)) / sigma
    return np.asarray(np.exp(-0.5 * away**2))


def _fast_length(n: int) -> int:
    """Return the next length from n on that has no prime factor above 5: others take a Fourier transform longer."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


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
    level = float(np.nanmedian(source.heights))
    heights, known = turned_maps(
        np.stack((np.nan_to_num(source.heights, nan=level) - level, source.is_known)), peak.yaw_deg, side
    )
    rows, columns = np.nonzero(known > 0.99)
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

"""Stage compare: the distance between the epochs at core points all over the site, and what is significant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .m3c2 import Comparison, Distances
from .parameters import Parameters
from .pose import moved
from .surface import Surface, frame_of, nmad, surface_of
from .thinning import thinned
from .threads import at_once
from .workfolder import WorkFolder, write_facts

Report = Callable[[float, str], None]

CONFIDENCE = 1.96  # 95 %, two-sided
_MOST_CORES = 100_000
_LEAST_POINTS = 5  # in a cylinder; fewer say nothing about its spread
_CELL_SPACINGS = 3.0
_REACH_FACTOR = 1.3  # a normal that leans reaches less deep than its length
_LEAST_REACH_SPACINGS = 8.0


def compare(folder: WorkFolder, parameters: Parameters, report: Report) -> None:
    """Write cores.npy, one row a core point of pre: x, y, z, distance, level of detection, metres; and facts.

    The level of detection is 1.96 (sqrt(s1^2/n1 + s2^2/n2) + registration error), Lague et al. 2013, with the NMAD on
    stable ground as registration error. Where the cylinder finds no answer (walls, pits deeper than the reach) the
    difference of gridded heights stands in: the deepest part of a pit must not become "no change".
    """
    loaded, aligned = folder.facts("load"), folder.facts("align")
    spacing, error = float(loaded["spacing_m"]), float(aligned["stable"]["nmad_m"])
    pre = folder.array("load", "pre")
    post = moved(np.load(folder.state("align") / "pose.npy"), folder.array("load", "post"))
    report(0.05, "gridding heights")
    before, after = _surfaces(pre, post, _CELL_SPACINGS * spacing)
    difference = after.heights - before.heights
    reach = parameters.reach_m or _reach(difference, spacing)
    core_spacing = max(parameters.core_spacing * spacing, float(np.sqrt(aligned["site_area_m2"] / _MOST_CORES)))
    radius = max(parameters.cylinder_radius * spacing, core_spacing / 2)
    cores = thinned(pre, core_spacing).points
    report(0.15, "indexing points")
    comparison = Comparison(pre, post)
    report(0.25, "finding normals")
    normals = comparison.normals(cores, max(parameters.normal_radius * spacing, core_spacing))
    found = _distances(comparison, cores, normals, radius, reach, report)
    heights = Surface(difference, before.low, before.cell_m).at(cores[:, :2])
    distance, limit, n_stood_in = _with_stand_ins(found, heights, error)
    with folder.writing(folder.state("compare")) as draft:
        np.save(draft / "cores.npy", np.column_stack((cores, distance, limit)))
        facts = {
            "n_cores": len(cores),
            "n_without_answer": int(np.isnan(distance).sum()),
            "n_stood_in": n_stood_in,
            "core_spacing_m": core_spacing,
            "cylinder_radius_m": radius,
            "reach_m": reach,
            "registration_error_m": error,
            "median_limit_m": float(np.nanmedian(limit)),
        }
        write_facts(draft, facts)
    report(1.0, "compared")


def _surfaces(pre: NDArray[Any], post: NDArray[Any], cell_m: float) -> tuple[Surface, Surface]:
    low, shape = frame_of(pre, cell_m)
    before, after = at_once(lambda cloud: surface_of(cloud, low, shape, cell_m), (pre, post))
    return before, after


def _reach(difference: NDArray[Any], spacing: float) -> float:
    """Return 1.3 times the largest difference of heights that its neighbours confirm."""
    known = np.isfinite(difference)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(np.where(known, difference, 0.0), 1, mode="edge"), (3, 3))
    confirmed = np.median(around, axis=(2, 3))
    return float(_REACH_FACTOR * np.abs(confirmed).max() + _LEAST_REACH_SPACINGS * spacing)


def _distances(
    comparison: Comparison,
    cores: NDArray[Any],
    normals: NDArray[Any],
    radius_m: float,
    reach_m: float,
    report: Report,
) -> Distances:
    return comparison.distances(
        cores,
        normals,
        radius_m=radius_m,
        reach_m=reach_m,
        report=lambda share: report(0.3 + 0.65 * share, "measuring distances"),
    )


def _with_stand_ins(
    found: Distances, heights: NDArray[Any], error: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return distances and levels of detection (n,), with gridded differences where the cylinder had no answer."""
    answered = np.isfinite(found.distance_m) & (found.n_least >= _LEAST_POINTS)
    stood_in = ~answered & np.isfinite(heights)
    known = heights[np.isfinite(heights)]
    distance = np.where(answered, found.distance_m, np.where(stood_in, heights, np.nan))
    rough = 3 * nmad(known) if len(known) else np.nan  # slope inside cells: coarse, so counted thrice
    limit = CONFIDENCE * (np.where(answered, found.deviation_m, rough) + error)
    return distance, np.where(np.isfinite(distance), limit, np.nan), int(stood_in.sum())

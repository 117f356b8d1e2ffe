"""Stage measure: which areas changed, their volumes, and how sure those are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from .area import inside
from .compare import CONFIDENCE
from .nulltest import null_test
from .parameters import Parameters
from .pose import moved
from .regions import Region, find_regions
from .residualplane import ResidualPlane
from .volumes import Volume, volume_of
from .workfolder import WorkFolder, write_facts

Report = Callable[[float, str], None]

_MOST_NULL_POINTS = 2_000  # in a disc: more would cost eight times the largest region and scatter no differently


@dataclass(frozen=True)
class Measured:
    """One region with its volume, its two kinds of error (standard deviations, m3) and its score (0 to 1)."""

    region: Region
    volume: Volume
    pose_m3: float
    score: float

    def deviation_m3(self, factor: float) -> float:
        return float(np.hypot(factor * self.volume.noise_m3, self.pose_m3))


def measure(folder: WorkFolder, parameters: Parameters, report: Report) -> None:
    """Write facts: regions with volumes and 95 % intervals, totals, null test; areas as WKT in the local frame."""
    loaded, aligned, compared = (folder.facts(one) for one in ("load", "align", "compare"))
    pre = folder.array("load", "pre")
    post = moved(np.load(folder.state("align") / "pose.npy"), folder.array("load", "post"))
    cores, stable = np.asarray(folder.array("compare", "cores")), np.asarray(folder.array("align", "stable"))
    spacing, limit = float(loaded["spacing_m"]), float(compared["median_limit_m"])
    plane = ResidualPlane(stable[:, :2], stable[:, 2])

    def measured(area: shapely.Geometry, sign: int = 1) -> tuple[Volume, float]:
        volume = volume_of(area, pre, post, spacing_m=spacing, sign=sign, limit_m=limit)
        centre = np.array(area.centroid.coords[0])
        return volume, area.area * plane.deviation_at(centre)

    report(0.1, "gathering changed ground")
    candidates = find_regions(
        cores[:, :2],
        cores[:, 3],
        cores[:, 4],
        spacing_m=float(compared["core_spacing_m"]),
        min_cores=parameters.min_region_cores,
    )
    found = []
    for n, region in enumerate(candidates):
        report(0.2 + 0.6 * n / len(candidates), f"measuring region {n + 1} of {len(candidates)}")
        volume, pose_m3 = measured(region.area, region.sign)
        found.append(Measured(region, volume, pose_m3, _score(region, cores)))
    report(0.8, "measuring where nothing changed")
    used = [one["polygon"] for one in aligned["stable"]["polygons"] if one["is_used"]]
    unchanged = shapely.union_all([shapely.from_wkt(loaded["polygons"][one]) for one in used])
    if candidates:
        reach = float(compared["core_spacing_m"])
        unchanged = unchanged.difference(shapely.union_all([one.area.buffer(reach) for one in candidates]))

    def scored(area: shapely.Geometry) -> tuple[Volume, float]:
        volume, pose_m3 = measured(area)
        return volume, float(np.hypot(volume.noise_m3, pose_m3))

    core_m2 = float(compared["core_spacing_m"]) ** 2
    typical = (
        float(np.median([one.volume.area_m2 for one in found])) if found else 4 * core_m2 * parameters.min_region_cores
    )
    typical = min(typical, _MOST_NULL_POINTS * spacing**2)
    null = null_test(typical, unchanged, float(np.sqrt(core_m2 * parameters.min_region_cores)), scored)
    kept = [one for one in found if abs(one.volume.net_m3) > CONFIDENCE * one.deviation_m3(null.factor)]
    kept.sort(key=lambda one: (-abs(one.volume.net_m3), one.region.area.bounds))
    least_m3 = parameters.min_region_cores * core_m2 * limit
    with folder.writing(folder.state("measure")) as draft:
        facts = {
            "regions": [_row(n + 1, one, null.factor) for n, one in enumerate(kept)],
            "n_not_significant": len(found) - len(kept),
            "total": _total(kept, null.factor, least_m3),
            "null_test": asdict(null) | {"was_done": null.was_done},
            "confidence": 0.95,
            "detectable_m3": least_m3,
        }
        write_facts(draft, facts)
    report(1.0, "measured")


def _score(region: Region, cores: NDArray[Any]) -> float:
    """Return the share of the core points in a region that changed significantly with its sign."""
    within = cores[inside(region.area, cores)]
    within = within[np.isfinite(within[:, 3])]
    if not len(within):
        return 0.0
    return float(((np.abs(within[:, 3]) > within[:, 4]) & (np.sign(within[:, 3]) == region.sign)).mean())


def _row(number: int, one: Measured, factor: float) -> dict[str, Any]:
    return {
        "id": number,
        "kind": "cut" if one.region.sign < 0 else "fill",
        "score": one.score,
        "area_m2": one.volume.area_m2,
        "cut_m3": one.volume.cut_m3,
        "fill_m3": one.volume.fill_m3,
        "net_m3": one.volume.net_m3,
        "uncertainty_m3": CONFIDENCE * one.deviation_m3(factor),
        "noise_m3": factor * one.volume.noise_m3,
        "pose_m3": one.pose_m3,
        "unknown_share": one.volume.unknown_share,
        "area_wkt": shapely.to_wkt(one.region.area, rounding_precision=4),
    }


def _total(kept: list[Measured], factor: float, least_m3: float) -> dict[str, float]:
    """Return the sums. Noise of regions is independent, an error of the pose is not: it moves all of them at once."""
    noise = np.sqrt(sum((factor * one.volume.noise_m3) ** 2 for one in kept))
    pose = sum(one.pose_m3 for one in kept)
    return {
        "area_m2": sum(one.volume.area_m2 for one in kept),
        "cut_m3": sum(one.volume.cut_m3 for one in kept),
        "fill_m3": sum(one.volume.fill_m3 for one in kept),
        "net_m3": sum(one.volume.net_m3 for one in kept),
        # Without a region the answer is zero, give or take what would not have been noticed.
        "uncertainty_m3": CONFIDENCE * float(np.hypot(noise, pose)) if kept else least_m3,
    }

"""Stage align: the pose of post on pre, last on ground that did not change, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from .area import inside
from .coarse import hypotheses
from .parameters import Parameters
from .pose import Pose, in_site, inverse, moved
from .quadrics import STEP_SPACINGS, Overlay, Quadrics
from .registration import Found, Ladder, base_voxel, describe, on_ground, search, search_ladder
from .stability import StableGround, believed, check_stable, check_surroundings, stable_ground
from .surface import nmad
from .thinning import Thinned, thinned
from .threads import at_once, n_threads
from .workfolder import WorkFolder, write_facts

Report = Callable[[float, str], None]

_ASIDE_SHARE = 0.3  # of the voxel: how far the ladder may leave the pose aside
_VETO = 50.0  # squared deviations that stable ground would gain by a pose of its own; noise gains it some ten


def align(folder: WorkFolder, parameters: Parameters, report: Report) -> None:
    """Write the pose, the residuals on stable ground (stable.npy: x, y, distance, deviation, polygon), and facts."""
    loaded = folder.facts("load")
    spacing = float(loaded["spacing_m"])
    polygons = [shapely.from_wkt(one) for one in loaded["polygons"]]
    pre, post = folder.array("load", "pre"), folder.array("load", "post")
    base = base_voxel(spacing, float(np.ptp(pre[:, :2], axis=0).max()))
    report(0.02, "thinning")
    thin_pre, thin_post = at_once(lambda cloud: on_ground(cloud, base), (pre, post))
    site_m2 = len(pre) * float(loaded["clouds"]["pre"]["spacing_m"]) ** 2

    def residuals(
        here: NDArray[Any], there: NDArray[Any], spacing_m: float, reach_m: float, begin: float
    ) -> StableGround:
        return stable_ground(
            here,
            there,
            polygons,
            spacing_m=spacing_m,
            reach_m=reach_m,
            site_m2=site_m2,
            parameters=parameters,
            report=lambda share: report(begin + 0.1 * share, "comparing stable ground"),
        )

    pose, found, ladder = np.eye(4), None, None
    if parameters.alignment != "given":
        ladder, found = _by_shape(thin_pre.points, thin_post.points, spacing, base, parameters, report)
        pose = found.fit.pose
    report(0.7, "comparing stable ground")
    ground = residuals(thin_pre.points, moved(pose, thin_post.points), base, 6 * base, 0.7)
    used = believed(ground)
    union = shapely.union_all([polygons[n] for n in used])
    if ladder is not None and found is not None:
        if len(used) < len(np.unique(ground.polygon)):
            pose = ground.levelled(pose)  # what moved has pulled the pose along
        report(0.8, "registering on unchanged ground")
        pose = on_unchanged(thin_pre, thin_post, pose, union, base)
        tolerance = found.fit.tolerance_m
        check_surroundings(*ladder.agreement(1).signed(pose), union, tolerance)
    else:
        tolerance = 3 * base
    reach = 3 * base if found else 6 * base
    final = residuals(pre, moved(pose, post), spacing, reach, 0.9)
    ground = final.only(used)
    check_stable(ground, tolerance)
    with folder.writing(folder.state("align")) as draft:
        table = np.column_stack((ground.xy, ground.distance_m, ground.deviation_m, ground.polygon))
        np.save(draft / "stable.npy", table)
        np.save(draft / "pose.npy", pose)
        facts = _facts(pose, np.array(loaded["origin_m"]), found, final, used)
        write_facts(draft, facts | {"stable_area_m2": float(union.area), "site_area_m2": site_m2})
    report(1.0, "registered")


def _by_shape(
    pre: NDArray[Any], post: NDArray[Any], spacing: float, base: float, parameters: Parameters, report: Report
) -> tuple[Ladder, Found]:
    starts = [np.eye(4)]  # surveys in one reference system mostly fit as they are
    if parameters.alignment == "search":
        starts += hypotheses(
            pre,
            post,
            spacing_m=max(spacing, base),
            min_overlap=parameters.min_overlap,
            report=lambda share: report(0.05 + 0.35 * share, "searching the heading"),
        )
    ladder = search_ladder(pre, post, base, n_threads())
    found = search(
        ladder,
        starts,
        min_overlap=parameters.min_overlap,
        report=lambda share: report(0.4 + 0.3 * share, "registering by shape"),
    )
    return ladder, found


def on_unchanged(pre: Thinned, post: Thinned, pose: Pose, union: shapely.Geometry, spacing_m: float) -> Pose:
    """Refine the pose: height and tilt on stable ground alone, sideways and heading on all ground that did not change.

    Change that is wide and shallow passes for none; it would pull height and tilt along, and hardly the rest. Sideways
    only slopes tell, and stable ground is often a yard or a road: alone it left poses 0.1 to 0.2 m off. It keeps a
    veto: where it would fit noticeably better elsewhere, the rest of the site has slid, and its own pose counts.
    """
    step = STEP_SPACINGS * spacing_m
    ground = Quadrics(pre, thinned(pre.points * [1, 1, 0], step).points[:, :2])
    stable = inside(union, ground.middles)
    laid = Overlay(ground, Thinned(moved(pose, post.points), post.counts), 1.5 * step)

    def closed(movement: Pose, pieces: NDArray[np.bool_]) -> Pose:
        return laid.closing(laid.closing(movement, pieces), stable, only_upright=True)

    movement = laid.closing(np.eye(4), stable, only_upright=True)
    for aside in (_ASIDE_SHARE * spacing_m, 0.0):
        movement = closed(movement, stable | laid.unchanged(movement, aside))
    own = laid.closing(movement, stable)
    is_vetoed = laid.misfit(movement, stable) - laid.misfit(own, stable) > _VETO
    return (own if is_vetoed else movement) @ pose


def _facts(
    pose: Pose, origin: NDArray[Any], found: Found | None, ground: StableGround, used: list[int]
) -> dict[str, Any]:
    kept = ground.only(used)
    polygons = [asdict(one) | {"is_used": one.polygon in used} for one in ground.verdicts(detrended=False)]
    return {
        "pose_local": pose.tolist(),
        "pose_site": in_site(pose, origin).tolist(),
        "pose_site_inverse": inverse(in_site(pose, origin)).tolist(),
        "search": describe(found) if found else None,
        "stable": {
            "n_cores": len(kept.xy),
            "median_m": kept.median_m,
            "nmad_m": nmad(kept.distance_m),
            "expected_m": float(np.median(kept.deviation_m)),
            "polygons": polygons,
        },
    }

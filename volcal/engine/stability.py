"""How far the stable ground says the two clouds are from each other once registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from .area import inside
from .errors import Refused
from .m3c2 import Comparison
from .parameters import Parameters
from .plane import robust_plane
from .pose import Pose, about
from .surface import nmad
from .thinning import thinned

_MOST_CORES = 20_000
_LEAST_CORES = 40
_LEAST_SHARE = 0.005  # of the site
_LEAST_POINTS = 5  # in a cylinder; fewer say nothing about its spread
_VETO_NMAD = 3.0
_MOST_LEFT_OUT = 12  # polygons; smaller ones than the largest twelve tilt nothing
# Times what the points' scatter explains: the scatter of all stable ground (1.0 to 1.3 on made-up sites), and how far
# one polygon lies from the others (below 0.2), which surveys that bulge may raise.
_MOST_SCATTER = 5.0
_MOST_APART = 8.0


@dataclass(frozen=True)
class Verdict:
    """One polygon: what it says, and whether it is believed."""

    polygon: int
    n_cores: int
    median_m: float
    is_used: bool


@dataclass(frozen=True)
class StableGround:
    """Distances (M3C2) between the epochs on stable ground; (n,) each, places and normals (n, 3), metres.

    polygon: index of the polygon that holds the core point.
    deviation_m: what the scatter of points alone explains.
    """

    places: NDArray[np.float64]
    normals: NDArray[np.float64]
    distance_m: NDArray[np.float64]
    deviation_m: NDArray[np.float64]
    polygon: NDArray[np.int64]

    @property
    def xy(self) -> NDArray[np.float64]:
        return self.places[:, :2]

    @property
    def nmad_m(self) -> float:
        return nmad(self.distance_m)

    @property
    def median_m(self) -> float:
        return float(np.median(self.distance_m))

    def only(self, polygons: list[int]) -> StableGround:
        kept = np.isin(self.polygon, polygons)
        return StableGround(
            self.places[kept], self.normals[kept], self.distance_m[kept], self.deviation_m[kept], self.polygon[kept]
        )

    def trend(self) -> NDArray[np.float64]:
        """Return (a, b, c): most of the ground lies a + b x + c y metres too high, x and y from the mean of the places.

        A polygon at one side that moved tilts a plane through all of them, and then looks no worse than the others. So
        each is left out once, and the plane counts under which the median of all the ground is least (Rousseeuw 1984).
        """
        numbers, n_cores = np.unique(self.polygon, return_counts=True)
        largest = numbers[np.argsort(-n_cores, kind="stable")][:_MOST_LEFT_OUT]
        xy = self.xy - self.xy.mean(axis=0)
        kept = [np.ones(len(xy), bool), *(self.polygon != one for one in largest if len(numbers) > 2)]
        planes = [robust_plane(xy[rows], self.distance_m[rows]) for rows in kept]
        return min(planes, key=lambda plane: float(np.median(np.abs(self.off(plane)))))

    def off(self, plane: NDArray[Any]) -> NDArray[np.float64]:
        """Return what a plane as trend() gives it leaves of the distances, (n,) metres."""
        return self.distance_m - plane[0] - (self.xy - self.xy.mean(axis=0)) @ plane[1:]

    def levelled(self, pose: Pose) -> Pose:
        """Return a pose of post by which most of the ground lies where it was."""
        offset, slope_x, slope_y = self.trend()
        upright = about(self.places.mean(axis=0), np.array([-slope_y, slope_x, 0]), np.array([0, 0, -offset]))
        return upright @ pose

    def verdicts(self, *, detrended: bool) -> list[Verdict]:
        """Judge each polygon by its median against the consensus; a lone dissenter beyond 3 NMAD is not believed.

        detrended: the pose is provisional, so that a common offset and tilt say nothing about any polygon.
        """
        rest = self.off(self.trend()) if detrended else self.distance_m
        found = [(int(one), rest[self.polygon == one]) for one in np.unique(self.polygon)]
        # The scatter within polygons: a polygon that moved as a whole must not excuse itself.
        within = nmad(np.concatenate([part - np.median(part) for _, part in found]))
        return [
            Verdict(one, len(part), float(np.median(part)), bool(abs(np.median(part)) <= _VETO_NMAD * within))
            for one, part in found
        ]


def stable_ground(
    pre: NDArray[Any],
    post: NDArray[Any],
    polygons: list[shapely.Polygon],
    *,
    spacing_m: float,
    reach_m: float,
    site_m2: float,
    parameters: Parameters,
    report: Callable[[float], None],
) -> StableGround:
    """Compare both clouds (n, 3; post already moved) on thinned core points of the polygons.

    Raises Refused if the polygons hold too little ground that both clouds cover.
    """
    union = shapely.union_all(polygons)
    radius = parameters.cylinder_radius * spacing_m
    normal_radius = parameters.normal_radius * spacing_m
    near = union.buffer(max(radius, normal_radius) + reach_m / 10)
    here, there = (points[inside(near, points)] for points in (pre, post))
    on_stable = here[inside(union, here)]
    covered = len(on_stable) * spacing_m**2 / site_m2
    distance = max(parameters.core_spacing * spacing_m, float(np.sqrt(union.area / _MOST_CORES)))
    cores = thinned(on_stable, distance).points if len(on_stable) else np.zeros((0, 3))
    if len(cores) < _LEAST_CORES or covered < _LEAST_SHARE or len(there) < _LEAST_CORES:
        text = f"Stable ground covers {covered:.1%} of the site ({len(cores)} places to compare): too little."
        raise Refused("stable_area_tiny", text + " Draw polygons on at least three sides of the site.", "shp")
    comparison = Comparison(here, there)
    normals = comparison.normals(cores, normal_radius)
    found = comparison.distances(cores, normals, radius_m=radius, reach_m=reach_m, report=report)
    seen = np.isfinite(found.distance_m) & (found.n_least >= _LEAST_POINTS)
    polygon = np.full(len(cores), -1, np.int64)
    for n, one in enumerate(polygons):  # overlapping ones: the first takes the point, none counts twice
        polygon[(polygon < 0) & inside(one, cores)] = n
    seen &= polygon >= 0
    if seen.sum() < _LEAST_CORES:
        text = f"Both clouds have points at only {int(seen.sum())} places of the stable area; redraw it."
        raise Refused("stable_area_tiny", text, "shp")
    return StableGround(cores[seen], normals[seen], found.distance_m[seen], found.deviation_m[seen], polygon[seen])


def believed(ground: StableGround) -> list[int]:
    """Return the polygons that agree under a provisional pose.

    Raises Refused if those that do not are the greater part.
    """
    verdicts = ground.verdicts(detrended=True)
    kept = [one for one in verdicts if one.is_used]
    if sum(one.n_cores for one in kept) <= 0.5 * len(ground.xy):
        worst = max(abs(one.median_m) for one in verdicts)
        raise _moved(f"Its polygons disagree by up to {worst:.2f} m, and no majority agrees.")
    return [one.polygon for one in kept]


def check_stable(ground: StableGround, tolerance_m: float) -> None:
    """Refuse ground that differs between the epochs after registration on itself."""
    differs = np.abs(ground.distance_m) > np.maximum(tolerance_m, 3 * ground.deviation_m)
    if differs.mean() > 0.5:
        raise _moved(f"{differs.mean():.0%} of it differs by more than {tolerance_m:.2f} m between the surveys.")
    explained = float(np.median(ground.deviation_m))
    apart = max(abs(one.median_m - ground.median_m) for one in ground.verdicts(detrended=False))
    if ground.nmad_m > _MOST_SCATTER * explained or apart > _MOST_APART * explained:
        worst = max(apart, ground.nmad_m)
        raise _moved(f"Its parts disagree by {worst:.2f} m; the scatter of the points explains {explained:.2f} m.")


def check_surroundings(
    places: NDArray[Any], heights: NDArray[Any], union: shapely.Geometry, tolerance_m: float
) -> None:
    """Refuse if all the rest of the site moved as one block: then it was the stable area that moved.

    places: (n, 3) points of post in pre's frame; heights: (n,) metres above pre's surface.
    """
    outside = ~inside(union, places)
    if outside.sum() < 0.4 * len(places):
        return
    rest, xy = heights[outside], places[outside, :2] - places[outside, :2].mean(axis=0)
    plane = robust_plane(xy, rest)
    scatter = nmad(rest - plane[0] - xy @ plane[1:])
    if (np.abs(rest) > tolerance_m).mean() > 0.8 and scatter < tolerance_m / 2:
        raise _moved(f"Everything around it moved together, by {np.median(rest):+.2f} m.")


def _moved(text: str) -> Refused:
    advice = "Draw the stable area on ground that nobody worked on and that did not settle."
    return Refused("stable_area_moved", f"The stable area is not stable. {text} {advice}", "shp")

"""The same measurement where nothing changed: it has to give about zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely

from .volumes import Volume

_MOST_PLACES = 8
_LEAST_PLACES = 4
_MOST_UNKNOWN = 0.5  # share of a disc without points in both surveys
_TRIES = 24  # along each axis


@dataclass(frozen=True)
class NullTest:
    """heights_m: mean height difference found at each place; scores: the same over its stated deviation.

    factor: root mean square of the scores, by which the stated noise has to grow; at least 1, and 1 if the test could
    not be done.
    """

    heights_m: list[float]
    scores: list[float]
    factor: float
    radius_m: float

    @property
    def was_done(self) -> bool:
        return bool(self.scores)


def null_test(
    area_m2: float,
    stable: shapely.Geometry,
    least_radius_m: float,
    measured: Callable[[shapely.Geometry], tuple[Volume, float]],
) -> NullTest:
    """Lay discs of an area on stable ground, as many as fit apart (up to eight), and measure there.

    Discs shrink until four fit, down to least_radius_m. measured: returns the volume of an area and its deviation, m3.
    """
    radius = float(np.sqrt(area_m2 / np.pi))
    places: list[shapely.Point] = []
    while True:
        places = _places(stable, radius)
        if len(places) >= _LEAST_PLACES or radius < least_radius_m:
            break
        radius *= 0.75
    if len(places) < _LEAST_PLACES:
        return NullTest([], [], 1.0, radius)
    heights, scores = [], []
    for place in places:
        volume, deviation = measured(place.buffer(radius))
        if volume.unknown_share > _MOST_UNKNOWN or not np.isfinite(deviation):
            continue  # stable ground that one of the surveys did not see says nothing
        heights.append(volume.mean_height_m)
        scores.append(volume.net_m3 / max(deviation, 1e-9))
    if len(scores) < _LEAST_PLACES:
        return NullTest([], [], 1.0, radius)
    return NullTest(heights, scores, max(1.0, float(np.sqrt(np.mean(np.square(scores))))), radius)


def _places(stable: shapely.Geometry, radius: float) -> list[shapely.Point]:
    """Return centres of discs that lie in the stable area and apart from each other, spread over it."""
    room = stable.buffer(-radius)
    if room.is_empty:
        return []
    low_x, low_y, high_x, high_y = room.bounds
    x, y = np.meshgrid(np.linspace(low_x, high_x, _TRIES), np.linspace(low_y, high_y, _TRIES))
    tries = shapely.points(x.ravel(), y.ravel())
    tries = tries[shapely.intersects(room, tries)]
    if not len(tries):
        return []
    # Farthest first: each next disc is the one most remote from those already laid.
    chosen = [0]
    distance = shapely.distance(tries, tries[0])
    while len(chosen) < _MOST_PLACES and distance.max() >= 2 * radius:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, shapely.distance(tries, tries[chosen[-1]]))
    return [tries[n] for n in chosen]

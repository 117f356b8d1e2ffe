"""Where the ground changed: disjoint areas of cut and of fill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .area import inside

_LINK = 1.6  # core spacings: diagonal neighbours of a square grid belong together
_DISC = 1.5  # core spacings around a significant core point: the change fades beyond it
_LEAST_NEIGHBOURS = 4
_LEAST_HOLE = 0.5  # of the area that the core points of the smallest region stand on: below it none need be counted
# Of the level of detection. The mean of few noisy points of unchanged ground stays below it; that of the points which
# are not significant by chance, in a shallow change, does not.
_UNCHANGED = 0.25


@dataclass(frozen=True)
class Region:
    """An area whose core points lie significantly on one side. sign: -1 cut, +1 fill. area in the local frame."""

    sign: int
    area: shapely.Geometry


def find_regions(
    xy: NDArray[Any], distance_m: NDArray[Any], limit_m: NDArray[Any], *, spacing_m: float, min_cores: int
) -> list[Region]:
    """Gather significant core points by sign into areas that do not overlap.

    xy: (n, 2); distance_m, limit_m: (n,), NaN where unknown (never significant). spacing_m: between core points.
    Points link within 1.6 spacings if they have four neighbours (density clustering); each area is the union of discs
    of 1.5 spacings. Where areas meet, the smaller keeps the ground. A hole is filled (chance, or points unknown) unless
    it is another area's, or as many core points as make a region say together that nothing happened there.
    """

    def is_unchanged(hole: shapely.Geometry) -> bool:
        if hole.area < _LEAST_HOLE * min_cores * spacing_m**2:
            return False
        there = inside(hole, xy) & np.isfinite(distance_m)
        if there.sum() < min_cores:
            return False
        return bool(np.abs(distance_m[there].mean()) <= _UNCHANGED * limit_m[there].mean())

    with np.errstate(invalid="ignore"):
        significant = np.abs(distance_m) > limit_m
    drawn: list[Region] = []
    for sign in (-1, 1):
        places = xy[significant & (np.sign(distance_m) == sign)]
        for group in _groups(places, _LINK * spacing_m, min_cores):
            discs = shapely.buffer(shapely.points(group), _DISC * spacing_m, quad_segs=4)
            drawn.append(Region(sign, shapely.union_all(discs)))
    drawn.sort(key=lambda one: (one.area.area, one.area.bounds))
    return _disjoint(drawn, is_unchanged)


def _groups(places: NDArray[Any], link_m: float, min_cores: int) -> list[NDArray[Any]]:
    if len(places) < min_cores:
        return []
    pairs = cKDTree(places).query_pairs(link_m, output_type="ndarray")
    n_neighbours = np.bincount(pairs.ravel(), minlength=len(places))
    dense = n_neighbours >= _LEAST_NEIGHBOURS
    # A pair counts if one end is dense; two sparse points in a row do not carry a group on.
    strong = pairs[dense[pairs].all(axis=1)]
    graph = coo_matrix((np.ones(len(strong)), (strong[:, 0], strong[:, 1])), shape=(len(places),) * 2)
    label = np.where(dense, connected_components(graph, directed=False)[1], -1)
    edge = pairs[dense[pairs].sum(axis=1) == 1]
    sparse_end = np.where(dense[edge[:, 0]], edge[:, 1], edge[:, 0])
    dense_end = np.where(dense[edge[:, 0]], edge[:, 0], edge[:, 1])
    joined = np.full(len(places), -1)
    np.maximum.at(joined, sparse_end, label[dense_end])
    label = np.where(dense, label, joined)
    return [places[label == one] for one in np.unique(label[label >= 0]) if (label == one).sum() >= min_cores]


def _disjoint(drawn: list[Region], is_unchanged: Callable[[shapely.Geometry], bool]) -> list[Region]:
    """Share out overlaps, and fill holes but those that hold unchanged ground. drawn: smallest first."""
    done: list[Region] = []
    for n, region in enumerate(drawn):
        smaller = shapely.union_all([one.area for one in done])
        others = shapely.union_all([smaller, *(one.area for one in drawn[n + 1 :])])
        holes = shapely.get_parts(shapely.difference(_holes(region.area), others))
        area = shapely.difference(region.area, smaller)
        area = shapely.union_all([area, *(hole for hole in holes if not is_unchanged(hole))])
        if not area.is_empty:
            done.append(Region(region.sign, area))
    return done


def _holes(area: shapely.Geometry) -> shapely.Geometry:
    rings = [ring for part in shapely.get_parts(area) for ring in part.interiors]
    return shapely.union_all([shapely.Polygon(ring) for ring in rings])

"""Where the ground changed: disjoint areas of cut and of fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_LINK = 1.6  # core spacings: diagonal neighbours of a square grid belong together
_DISC = 1.5  # core spacings around a significant core point: the change fades beyond it
_LEAST_NEIGHBOURS = 4


@dataclass(frozen=True)
class Region:
    """An area whose core points lie significantly on one side. sign: -1 cut, +1 fill. area in the local frame."""

    sign: int
    area: shapely.Geometry


def find_regions(
    xy: NDArray[Any], distance_m: NDArray[Any], limit_m: NDArray[Any], *, spacing_m: float, min_cores: int
) -> list[Region]:
    """Gather significant core points by sign into areas that do not overlap, holes filled.

    xy: (n, 2); distance_m, limit_m: (n,), NaN where unknown (never significant). spacing_m: between core points.
    Points link within 1.6 spacings if they have four neighbours (density clustering); each area is the union of discs
    of 1.5 spacings. Where areas meet, the smaller keeps the ground; one inside another's hole keeps it too.
    """
    with np.errstate(invalid="ignore"):
        significant = np.abs(distance_m) > limit_m
    drawn: list[Region] = []
    for sign in (-1, 1):
        places = xy[significant & (np.sign(distance_m) == sign)]
        for group in _groups(places, _LINK * spacing_m, min_cores):
            discs = shapely.buffer(shapely.points(group), _DISC * spacing_m, quad_segs=4)
            drawn.append(Region(sign, shapely.union_all(discs)))
    drawn.sort(key=lambda one: (one.area.area, one.area.bounds))
    return _disjoint(drawn)


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


def _disjoint(drawn: list[Region]) -> list[Region]:
    """Fill holes and share out overlaps. drawn: smallest first."""
    done: list[Region] = []
    for n, region in enumerate(drawn):
        area = _filled(region.area)
        others = [one.area for one in done] + [one.area for one in drawn[:n]]
        # What a larger one holds beyond the overlap may lie in a hole that was filled here.
        others += [shapely.difference(one.area, region.area) for one in drawn[n + 1 :]]
        if others:
            area = shapely.difference(area, shapely.union_all(others))
        if not area.is_empty:
            done.append(Region(region.sign, area))
    return done


def _filled(area: shapely.Geometry) -> shapely.Geometry:
    return shapely.union_all([shapely.Polygon(part.exterior) for part in shapely.get_parts(area)])

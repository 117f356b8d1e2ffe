"""Areas of change: connected, disjoint, by sign."""

import numpy as np
import pytest
import shapely

from volcal.engine.regions import find_regions


def lattice(size: int = 60) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2).astype(float)


def found(xy: np.ndarray, distance: np.ndarray, min_cores: int = 8):
    return find_regions(xy, distance, np.full(len(xy), 0.1), spacing_m=1.0, min_cores=min_cores)


def within(xy: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    return np.hypot(xy[:, 0] - x, xy[:, 1] - y) <= radius


def test_a_pit_is_one_region_a_little_wider_than_itself():
    xy = lattice()
    distance = np.where(within(xy, 30, 30, 10), -2.0, 0.0)

    (region,) = found(xy, distance)

    assert region.sign == -1
    assert np.pi * 10**2 < region.area.area < np.pi * 12**2
    assert region.area.contains(shapely.Point(30, 30).buffer(10))


def test_cut_and_fill_side_by_side_share_no_ground():
    xy = lattice()
    distance = np.where(within(xy, 20, 30, 8), -1.0, 0.0) + np.where(within(xy, 37, 30, 8), 1.0, 0.0)

    regions = found(xy, distance)

    assert sorted(one.sign for one in regions) == [-1, 1]
    assert regions[0].area.intersection(regions[1].area).area == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("heap_radius", [4, 9])
def test_a_heap_inside_a_ring_of_cut_keeps_its_ground(heap_radius):
    xy = lattice()
    ring = within(xy, 30, 30, 14) & ~within(xy, 30, 30, 11)
    distance = np.where(ring, -1.0, 0.0) + np.where(within(xy, 30, 30, heap_radius), 1.0, 0.0)

    regions = found(xy, distance)

    assert len(regions) == 2
    union = shapely.union_all([one.area for one in regions])
    assert union.area == pytest.approx(sum(one.area.area for one in regions), rel=1e-9)
    (heap,) = (one for one in regions if one.sign == 1)
    assert heap.area.contains(shapely.Point(30, 30).buffer(heap_radius - 0.5))


def test_unchanged_ground_inside_a_ring_of_cut_is_no_part_of_it():
    xy = lattice()
    trench = within(xy, 30, 30, 20) & ~within(xy, 30, 30, 17)
    noise = np.random.default_rng(1).normal(scale=0.05, size=len(xy))

    (region,) = found(xy, np.where(trench, -1.0, 0.0) + noise, min_cores=8)

    assert not region.area.intersects(shapely.Point(30, 30).buffer(13))
    assert region.area.area == pytest.approx(np.pi * (21.5**2 - 15.5**2), rel=0.15)


@pytest.mark.parametrize("inner", [-0.05, np.nan])
def test_a_hole_that_is_shallow_or_unknown_belongs_to_the_pit_around_it(inner):
    xy = lattice()
    distance = np.where(within(xy, 30, 30, 20), -1.0, 0.0)
    distance[within(xy, 30, 30, 8)] = inner

    (region,) = found(xy, distance)

    assert region.area.contains(shapely.Point(30, 30).buffer(20))


def test_scattered_false_alarms_are_no_region():
    xy = lattice()
    alarms = np.random.default_rng(0).uniform(size=len(xy)) < 0.05

    assert found(xy, np.where(alarms, -1.0, 0.0)) == []


def test_unknown_core_points_change_nothing():
    xy = lattice()
    distance = np.where(within(xy, 30, 30, 10), -2.0, np.nan)

    assert len(found(xy, distance)) == 1
    assert found(xy, np.full(len(xy), np.nan)) == []


def test_the_order_of_core_points_changes_nothing():
    xy = lattice()
    distance = np.where(within(xy, 30, 30, 10), -2.0, 0.0) + np.where(within(xy, 50, 50, 6), 2.0, 0.0)
    order = np.random.default_rng(3).permutation(len(xy))

    first, second = found(xy, distance), found(xy[order], distance[order])

    assert [one.sign for one in first] == [one.sign for one in second]
    assert all(a.area.symmetric_difference(b.area).area < 1e-9 for a, b in zip(first, second, strict=True))

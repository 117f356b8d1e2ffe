"""The mean points of cells."""

import numpy as np
import pytest

from volcal.engine.thinning import thinned

POINTS = np.random.default_rng(2).uniform(0, 10, (2000, 3))


def test_each_occupied_cell_leaves_its_mean_and_how_many_it_stands_for():
    points = np.array([[0, 0, 0], [0.4, 0.2, 0.6], [0.9, 0.9, 0.9], [2.5, 0, 0]], float)

    found = thinned(points, 1.0)

    assert found.points == pytest.approx(np.array([[1.3 / 3, 1.1 / 3, 0.5], [2.5, 0, 0]]))
    assert found.counts.tolist() == [3, 1]


def test_cells_may_be_taller_than_wide():
    points = np.array([[0, 0, 0], [0, 0, 3.9], [0, 0, 4.1]], float)

    assert thinned(points, 1.0, 4.0).counts.tolist() == [2, 1]
    assert thinned(points, 1.0).counts.tolist() == [1, 1, 1]


def test_the_order_of_points_plays_no_part():
    first, second = thinned(POINTS, 1.5), thinned(POINTS[::-1], 1.5)

    assert first.points == pytest.approx(second.points, abs=1e-12)
    assert first.counts.tolist() == second.counts.tolist()
    assert len(first.counts) < len(POINTS) == first.counts.sum()


def test_a_point_far_away_changes_nothing_for_the_others():
    far = np.vstack((POINTS, [[2e5, 3e5, 4e4]]))

    found, alone = thinned(far, 0.5), thinned(POINTS, 0.5)

    order = np.lexsort(alone.points.T)
    assert found.points[:-1][np.lexsort(found.points[:-1].T)] == pytest.approx(alone.points[order])
    assert found.points[-1] == pytest.approx(far[-1])

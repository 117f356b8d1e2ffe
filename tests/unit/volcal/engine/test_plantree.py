"""Neighbours in the plan, whatever their height."""

import numpy as np
import pytest

from volcal.engine.plantree import PlanTree

POINTS = np.array([[0.0, 0, 50], [3, 4, -20], [10, 0, 0]])


def test_height_plays_no_part():
    away, found = PlanTree(POINTS).nearest(np.array([[3.0, 3, 900], [9, 0, 0]]))

    assert found.tolist() == [1, 2]
    assert away == pytest.approx([1, 1])


def test_neighbours_come_nearest_first():
    away, found = PlanTree(POINTS).neighbours(np.array([[0.0, 0]]), 3)

    assert found.tolist() == [[0, 1, 2]]
    assert away[0] == pytest.approx([0, 5, 10])

"""Turning height maps, and the headings that they show."""

import numpy as np
import pytest

from volcal.engine.coarse import turned_maps


def test_a_quarter_turn_moves_cells_and_keeps_their_heights():
    heights = np.arange(25.0).reshape(5, 5)

    turned = turned_maps(heights[None], 90, 5)[0]

    # Rows go north: what lay in the east lies in the north after a quarter counter-clockwise.
    assert turned == pytest.approx(np.rot90(heights, -1), abs=1e-4)


def test_ground_outside_the_map_is_zero():
    turned = turned_maps(np.ones((1, 6, 6)), 45, 11)[0]

    assert turned[0, 0] == turned[10, 10] == 0
    assert turned[5, 5] == pytest.approx(1)
    assert turned.sum() == pytest.approx(25, rel=0.15)  # six samples span five cells

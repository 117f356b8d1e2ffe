"""The last registration: which ground decides what."""

import numpy as np
import pytest
import shapely

from tests.scenes import Scene, scene
from volcal.engine.align import on_unchanged
from volcal.engine.pose import about, inverse, moved
from volcal.engine.registration import base_voxel, on_ground

N_POINTS = 100_000


def strayed_m(made: Scene, post: np.ndarray) -> float:
    """Register from 6 cm beside the truth; return how far the middle of the site then is from its place, metres."""
    base = base_voxel(300 / np.sqrt(N_POINTS), 300)
    start = about(made.centre, np.radians([0.01, -0.01, 0.03]), np.array([0.05, -0.03, 0.02])) @ made.pose
    pose = on_unchanged(on_ground(made.pre, base), on_ground(post, base), start, shapely.union_all(made.stable), base)
    centre = made.centre[None]
    return float(np.linalg.norm(moved(pose @ inverse(made.pose), centre) - centre))


@pytest.mark.parametrize("seed", [2, 3])
def test_flat_stable_ground_leaves_it_to_the_rest_where_the_site_is(seed):
    made = scene(seed, terrain="yard", n_points=N_POINTS, change=(25, 8), noise=0.03)

    assert strayed_m(made, made.post) < 0.02  # by the stable ground alone it was 0.1 to 0.2 m


def test_stable_ground_has_a_veto_where_the_rest_has_slid():
    made = scene(2, terrain="mound", n_points=N_POINTS, change=None, noise=0.02)
    post = moved(made.pose, made.post)
    slid = ~shapely.contains_xy(shapely.union_all(made.stable), post[:, 0], post[:, 1])
    post[slid, 0] += 0.3

    assert strayed_m(made, moved(inverse(made.pose), post)) < 0.015


def test_what_nothing_decides_stays_as_the_shape_of_the_site_left_it():
    made = scene(1, terrain="flat", n_points=N_POINTS, noise=0.05)

    assert strayed_m(made, made.post) == pytest.approx(np.hypot(0.05, 0.03), abs=0.005)


def test_wide_shallow_change_does_not_lift_the_survey():
    made = scene(3, terrain="quarry", n_points=N_POINTS, change=(70, 0.06), noise=0.05)

    assert strayed_m(made, made.post) < 0.012

"""The last step of registration, on ground whose shape is a formula."""

import numpy as np
import pytest

from tests.unit.volcal.engine.conftest import surveyed
from volcal.engine.pose import about, inverse, moved, turn_deg
from volcal.engine.quadrics import Overlay, Quadrics
from volcal.engine.thinning import Thinned

PLACES = np.stack(np.meshgrid(np.arange(4.0, 57, 1.6), np.arange(4.0, 57, 1.6)), -1).reshape(-1, 2)
MOVEMENT = about(np.array([30.0, 30, 0]), np.radians([0.02, -0.03, 0.05]), np.array([0.06, -0.04, 0.03]))


def cloud(points: np.ndarray) -> Thinned:
    return Thinned(points, np.ones(len(points), int))


def inner(points: np.ndarray) -> np.ndarray:
    return points[((points[:, :2] > 4) & (points[:, :2] < 56)).all(axis=1)]


def closed(pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    laid, everywhere = overlaid(pre, moved(MOVEMENT, post))
    return laid.closing(np.eye(4), everywhere)


def overlaid(pre: np.ndarray, post: np.ndarray) -> tuple[Overlay, np.ndarray]:
    ground = Quadrics(cloud(pre), PLACES)
    return Overlay(ground, cloud(post), 2.5), np.ones(len(ground.middles), bool)


def strays(pose: np.ndarray) -> tuple[float, float]:
    """Return how far a point in the middle ends from where it was, metres, and how much it stays turned, degrees."""
    left = pose @ MOVEMENT
    middle = np.array([[30.0, 30, 0]])
    return float(np.linalg.norm(moved(left, middle) - middle)), turn_deg(left)


def test_a_movement_is_undone():
    shift_m, turned = strays(closed(surveyed(1), inner(surveyed(2))))

    # 0.02 m of noise on 9,000 points with slopes of 0.4: the points themselves allow 0.9 mm.
    assert shift_m < 0.002
    assert turned < 0.005


def test_wild_points_on_both_sides_do_not_pull():
    pre, post = surveyed(1), inner(surveyed(2))
    pre[::50, 2] += np.linspace(-15, 15, len(pre[::50]))
    post[::50, 2] += np.linspace(0, 15, len(post[::50]))

    assert strays(closed(pre, post))[0] < 0.003


def test_change_on_a_fifth_of_the_ground_does_not_pull():
    post = inner(surveyed(2))
    post[post[:, 0] < 14, 2] -= 0.6

    assert strays(closed(surveyed(1), post))[0] < 0.003


def test_a_plane_is_lifted_and_tilted_but_not_slid():
    random = np.random.default_rng(5)
    pre, post = (np.column_stack((random.uniform(0, 60, (12_000, 2)), np.zeros(12_000))) for _ in range(2))
    post[:, 2] += 0.05 + 0.001 * post[:, 0]

    laid, everywhere = overlaid(pre, inner(post))
    pose = laid.closing(np.eye(4), everywhere)

    assert moved(pose, post)[:, 2] == pytest.approx(0, abs=1e-3)
    assert np.abs(inverse(pose)[:2, 3]).max() < 0.01


def test_only_upright_leaves_everything_sideways():
    laid, everywhere = overlaid(surveyed(1), moved(MOVEMENT, inner(surveyed(2))))

    pose = laid.closing(np.eye(4), everywhere, only_upright=True)

    assert pose[2, 3] != 0
    assert np.abs(moved(pose, np.array([[30.0, 30, 0]]))[0, :2] - 30).max() < 1e-3
    assert abs(pose[0, 1] - pose[1, 0]) < 1e-6


def test_the_chosen_pieces_alone_count():
    post = inner(surveyed(2))
    post[post[:, 0] > 30, 2] += 0.5
    ground = Quadrics(cloud(surveyed(1)), PLACES)

    pose = Overlay(ground, cloud(post), 2.5).closing(np.eye(4), ground.middles[:, 0] < 28)

    assert abs(moved(pose, np.array([[16.0, 30, 0]]))[0, 2]) < 0.002


def test_ground_that_changed_is_told_from_ground_that_did_not():
    post = inner(surveyed(2))
    post[post[:, 0] < 14, 2] -= 0.1  # five deviations of a point
    ground = Quadrics(cloud(surveyed(1)), PLACES)

    unchanged = Overlay(ground, cloud(post), 2.5).unchanged(np.eye(4), 0)

    x, y = ground.middles.T
    assert unchanged[x < 12].mean() < 0.02
    # Those next to it are asked together with it; the last ones have no points.
    assert unchanged[(x > 20) & (x < 55) & (y < 55)].mean() > 0.99


def test_pieces_at_the_edge_of_a_survey_are_left_out():
    pre = surveyed(1)

    middles = Quadrics(cloud(pre[pre[:, 0] > 20]), PLACES).middles

    assert 20.5 < middles[:, 0].min() < 23


def test_the_misfit_is_least_where_the_points_belong():
    laid, everywhere = overlaid(surveyed(1), inner(surveyed(2)))
    lifted = about(np.zeros(3), np.zeros(3), np.array([0, 0, 0.02]))

    assert laid.misfit(lifted, everywhere) > 1.5 * laid.misfit(np.eye(4), everywhere)


def test_means_of_many_points_count_for_more():
    pre, post = surveyed(1), moved(MOVEMENT, inner(surveyed(2, noise_m=0.05)))
    wild = post[::3] + np.array([0, 0, 0.15])  # three deviations: not wild enough to be told apart

    def left(counts: int) -> float:
        both = Thinned(np.vstack((post, wild)), np.repeat([counts, 1], [len(post), len(wild)]))
        ground = Quadrics(cloud(pre), PLACES)
        return strays(Overlay(ground, both, 2.5).closing(np.eye(4), np.ones(len(ground.middles), bool)))[0]

    assert left(20) < 0.3 * left(1)

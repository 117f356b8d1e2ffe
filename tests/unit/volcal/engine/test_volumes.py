"""Volumes that can be worked out by hand."""

import numpy as np
import pytest
import shapely

from volcal.engine.volumes import volume_of

SPACING = 0.5
BOX = shapely.box(5, 5, 15, 15)


def cloud(seed: int, height=0.0, noise_m: float = 0.0, width: float = 20.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, width, (2, int((width / SPACING) ** 2)))
    z = height(x, y) if callable(height) else np.full(len(x), height)
    return np.column_stack((x, y, z + random.normal(0, noise_m, len(x))))


def measured(pre: np.ndarray, post: np.ndarray, area: shapely.Geometry = BOX, sign: int = -1):
    return volume_of(area, pre, post, spacing_m=SPACING, sign=sign, limit_m=0.1)


def test_lowered_ground_is_area_times_depth():
    found = measured(cloud(1), cloud(2, -1.5))

    assert found.net_m3 == pytest.approx(-150, rel=1e-9)
    assert (found.cut_m3, found.fill_m3) == (pytest.approx(150), 0)
    assert found.area_m2 == pytest.approx(100)


def test_a_tilt_about_the_middle_cuts_as_much_as_it_fills():
    # Height 0.2 (x - 10) over 5 m on each side: 0.5 * 5 m * 1 m * 10 m = 25 m3 of each.
    found = measured(cloud(1), cloud(2, lambda x, y: 0.2 * (x - 10)))

    assert found.net_m3 == pytest.approx(0, abs=0.1)
    assert found.cut_m3 == pytest.approx(25, rel=0.03)
    assert found.fill_m3 == pytest.approx(25, rel=0.03)


def test_noise_on_unchanged_ground_is_not_counted_as_work():
    found = measured(cloud(1, 0, 0.1), cloud(2, 0, 0.1))

    assert abs(found.net_m3) <= 3 * found.noise_m3
    assert found.fill_m3 == 0
    assert found.cut_m3 == pytest.approx(-found.net_m3)


def test_the_stated_noise_is_the_one_that_repeated_surveys_show():
    found = [measured(cloud(seed, 0, 0.1), cloud(seed + 100, 0, 0.1)) for seed in range(30)]

    spread = np.std([one.net_m3 for one in found])
    stated = np.mean([one.noise_m3 for one in found])
    assert 0.7 < stated / spread < 1.6


def test_parts_add_up_to_the_whole():
    pre, post = cloud(1, 0, 0.05), cloud(2, lambda x, y: -0.1 * x, 0.05)
    left, right = shapely.box(5, 5, 10, 15), shapely.box(10, 5, 15, 15)

    parts = measured(pre, post, left).net_m3 + measured(pre, post, right).net_m3

    assert parts == pytest.approx(measured(pre, post).net_m3, rel=1e-3)


def test_a_wild_point_near_the_surface_is_left_out():
    post = cloud(2, -1.0, 0.02)
    post[np.argmin(np.hypot(post[:, 0] - 10, post[:, 1] - 10)), 2] += 3

    assert measured(cloud(1, 0, 0.02), post).net_m3 == pytest.approx(-100, rel=2e-3)


def test_ground_without_points_is_said_and_not_guessed():
    post = cloud(2, -1.0)

    found = measured(cloud(1), post[post[:, 0] < 10])

    assert found.unknown_share == pytest.approx(0.5, abs=0.03)
    assert found.net_m3 == pytest.approx(-50, rel=0.05)


def test_a_large_area_in_tiles_equals_the_same_area_in_one(monkeypatch):
    pre, post = cloud(1, 0, 0.05), cloud(2, lambda x, y: -0.1 * x, 0.05)
    whole = measured(pre, post)

    monkeypatch.setattr("volcal.engine.tin._TILE_POINTS", 150)

    assert measured(pre, post).net_m3 == pytest.approx(whole.net_m3, rel=1e-6)

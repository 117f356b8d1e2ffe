"""M3C2 against values worked out by hand and against the library's own front door."""

import numpy as np
import pytest

from volcal.engine.m3c2 import Comparison
from volcal.engine.thinning import thinned

UP = np.array([[0.0, 0.0, 1.0]])


def measured(comparison: Comparison, cores: np.ndarray, normals: np.ndarray, reach_m: float = 5.0):
    return comparison.distances(cores, normals, radius_m=1.0, reach_m=reach_m, report=lambda _share: None)


def test_a_distance_worked_out_by_hand():
    # Before: heights 0.05, 0.1, 0.3 within the radius. After: 1.1, 1.2, 1.4, 1.7. Far points count for nothing.
    # None lies a whole number of radii up: the library cuts the cylinder there and loses points exactly on the cut.
    pre = np.array([[0, 0, 0.05], [0.5, 0, 0.1], [0, 0.5, 0.3], [3, 0, 50]], float)
    post = np.array([[0.1, 0, 1.1], [-0.5, 0, 1.2], [0, -0.5, 1.4], [0.3, 0.3, 1.7], [0, 4, -50]], float)

    found = measured(Comparison(pre, post), np.zeros((1, 3)), UP)

    spread_pre = np.std([0.05, 0.1, 0.3], ddof=1)
    spread_post = np.std([1.1, 1.2, 1.4, 1.7], ddof=1)
    assert found.distance_m[0] == pytest.approx(1.35 - 0.15)
    assert found.deviation_m[0] == pytest.approx(np.sqrt(spread_pre**2 / 3 + spread_post**2 / 4))
    assert found.n_least[0] == 3


def test_distances_run_along_the_normal():
    random = np.random.default_rng(0)
    x, y = random.uniform(-5, 5, (2, 4000))
    plane = np.column_stack((x, y, x))  # 45 degrees
    normal = np.array([[-1.0, 0.0, 1.0]]) / np.sqrt(2)
    comparison = Comparison(plane, plane + 0.3 * normal)

    normals = comparison.normals(np.zeros((1, 3)), 2.0)
    found = measured(comparison, np.zeros((1, 3)), normals)

    assert normals == pytest.approx(normal, abs=1e-6)
    assert found.distance_m[0] == pytest.approx(0.3, abs=1e-6)


def test_beyond_the_reach_there_is_no_answer():
    random = np.random.default_rng(0)
    flat = np.column_stack((*random.uniform(-2, 2, (2, 500)), np.zeros(500)))

    found = measured(Comparison(flat, flat - [0, 0, 20]), np.zeros((1, 3)), UP, reach_m=15)

    assert np.isnan(found.distance_m[0])


def test_the_compiled_half_says_what_the_whole_library_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the library opens a log where it is imported
    py4dgeo = pytest.importorskip("py4dgeo")
    random = np.random.default_rng(1)
    pre, post = (np.column_stack((random.uniform(0, 10, (3000, 2)), random.normal(h, 0.05, 3000))) for h in (0, 0.2))
    cores = thinned(pre, 1.0).points
    whole = py4dgeo.M3C2(
        epochs=(py4dgeo.Epoch(pre.copy()), py4dgeo.Epoch(post.copy())),
        corepoints=cores,
        normal_radii=(2.0,),
        cyl_radius=1.0,
        max_distance=5.0,
        registration_error=0.01,
    )

    distances, uncertainty = whole.run()
    comparison = Comparison(pre, post)
    found = measured(comparison, cores, comparison.normals(cores, 2.0))

    assert found.distance_m == pytest.approx(distances, abs=1e-12)
    assert 1.96 * (found.deviation_m + 0.01) == pytest.approx(uncertainty["lodetection"], rel=1e-6)

"""The truth of the made-up sites, found a second way."""

from math import atan2, degrees

import laspy
import numpy as np
import pytest
import shapefile
from shapely import MultiPolygon, Point, box
from shapely.geometry import shape

from tests.scenes import FAR_ORIGIN, scene

TERRAINS = ["quarry", "ridge", "mound", "flat"]


def moved_onto_pre(made, points):
    return points @ made.pose[:3, :3].T + made.pose[:3, 3]


def integrated(made, step_m=0.05):
    """Sum the height between both surfaces around the change on a fine grid: (cut, fill) in m3."""
    change = made.change
    half = change.radius_m + 1
    x, y = np.meshgrid(
        change.x + np.arange(-half, half, step_m) + step_m / 2, change.y + np.arange(-half, half, step_m) + step_m / 2
    )
    dz = made.after(x, y) - made.before(x, y)
    return -dz[dz < 0].sum() * step_m**2, dz[dz > 0].sum() * step_m**2


@pytest.mark.parametrize(("radius", "depth"), [(5, 3), (10, 6), (25, 15), (12, -4)])
@pytest.mark.parametrize("terrain", TERRAINS)
def test_the_stated_volume_is_the_integral_between_the_surfaces(terrain, radius, depth):
    made = scene(3, terrain=terrain, n_points=10, change=(radius, depth))

    cut, fill = integrated(made)

    assert cut == pytest.approx(made.cut, rel=2e-3)
    assert fill == pytest.approx(made.fill, rel=2e-3)
    assert made.net == pytest.approx(fill - cut, rel=2e-3)


def test_the_published_pits_have_their_published_volumes():
    volumes = [scene(0, n_points=10, change=(r, d)).cut for r, d in [(5, 3), (10, 6), (15, 9), (20, 12), (25, 15)]]

    assert volumes == pytest.approx([101.9, 814.9, 2750, 6519, 12733], rel=1e-3)


@pytest.mark.parametrize("yaw", [0, 5, 30, 90, 180, -135])
@pytest.mark.parametrize("terrain", TERRAINS)
def test_the_pose_takes_the_second_epoch_onto_the_first_ones_ground(terrain, yaw):
    made = scene(5, terrain=terrain, n_points=5000, change=(10, 6), noise=0.0, yaw_deg=yaw, tilt_deg=5, shift_m=12)

    aligned = moved_onto_pre(made, made.post)

    assert np.abs(aligned[:, 2] - made.after(aligned[:, 0], aligned[:, 1])).max() < 1e-6
    assert np.abs(made.pre[:, 2] - made.before(made.pre[:, 0], made.pre[:, 1])).max() < 1e-6


def test_yaw_tilt_and_shift_are_as_asked():
    made = scene(8, n_points=10, yaw_deg=40, tilt_deg=0, shift_m=12)
    tipped = scene(8, n_points=10, yaw_deg=0, tilt_deg=5, shift_m=0)

    turn = made.pose[:3, :3]
    assert degrees(atan2(turn[1, 0], turn[0, 0])) == pytest.approx(40)
    assert np.linalg.norm(moved_onto_pre(made, made.centre) - made.centre) == pytest.approx(12)
    assert degrees(np.arccos(tipped.pose[2, 2])) == pytest.approx(5)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_noise_has_the_stated_size():
    made = scene(2, terrain="flat", n_points=20_000, noise=0.08, yaw_deg=0, tilt_deg=0, shift_m=0)

    assert (made.pre[:, 2] - made.before(made.pre[:, 0], made.pre[:, 1])).std() == pytest.approx(0.08, rel=0.03)
    assert (made.post[:, 2] - made.before(made.post[:, 0], made.post[:, 1])).std() == pytest.approx(0.08, rel=0.03)


def test_equal_arguments_give_equal_scenes_and_another_seed_another_one():
    first, again, other = (scene(seed, n_points=500, change=(10, 6), outliers=0.05) for seed in (7, 7, 8))

    assert np.array_equal(first.pre, again.pre)
    assert np.array_equal(first.post, again.post)
    assert np.array_equal(first.pose, again.pose)
    assert first.change == again.change
    assert not np.array_equal(first.pre, other.pre)


def test_the_two_epochs_take_their_own_positions():
    made = scene(1, n_points=2000, yaw_deg=0, tilt_deg=0, shift_m=0, noise=0)

    assert not set(made.pre[:, 0]) & set(made.post[:, 0])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("overlap", [1.0, 0.7])
def test_stable_ground_lies_in_both_epochs_and_never_under_the_change(seed, overlap):
    made = scene(seed, n_points=10, change=(20, 12), overlap=overlap)
    stable = MultiPolygon(made.stable)
    pit = Point(made.change.x, made.change.y).buffer(made.change.radius_m)

    assert stable.is_valid  # so none overlaps another
    assert box(300 * (1 - overlap), 0, 300, 300).contains(stable)
    assert not stable.intersects(pit)
    assert stable.area > 0.3 * overlap * 300 * 300


def test_less_overlap_moves_the_second_footprint():
    made = scene(4, n_points=5000, overlap=0.6, noise=0)
    aligned = moved_onto_pre(made, made.post)

    assert made.pre[:, 0].min() == pytest.approx(0, abs=1)
    assert aligned[:, 0].min() == pytest.approx(120, abs=1)
    assert aligned[:, 0].max() == pytest.approx(420, abs=1)


def test_outliers_are_as_many_as_asked():
    made = scene(6, terrain="flat", n_points=20_000, noise=0, outliers=0.02, yaw_deg=0, tilt_deg=0, shift_m=0)

    off = np.abs(made.pre[:, 2] - made.before(made.pre[:, 0], made.pre[:, 1])) > 0.01
    assert off.mean() == pytest.approx(0.02, rel=0.2)


def test_a_density_gradient_leans_to_opposite_sides():
    made = scene(6, n_points=20_000, density_gradient=True, yaw_deg=0, tilt_deg=0, shift_m=0)

    assert (made.pre[:, 0] < 150).mean() == pytest.approx(5 / 8, abs=0.01)
    assert (made.post[:, 0] < 150).mean() == pytest.approx(3 / 8, abs=0.01)


def test_a_scene_without_change_has_no_volume():
    made = scene(9, n_points=10)

    assert (made.net, made.cut, made.fill, made.change) == (0, 0, 0, None)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_written_files_hold_the_scene(tmp_path, suffix):
    made = scene(9, n_points=3000, change=(10, 6), crs="EPSG:32633")

    files = made.write(tmp_path, suffix=suffix)

    for path, points in ((files.pre, made.pre), (files.post, made.post)):
        cloud = laspy.read(path)
        assert np.abs(cloud.xyz - points).max() <= 0.00051
        assert cloud.header.parse_crs().to_epsg() == 32633
    assert made.pre[:, 0].min() > FAR_ORIGIN[0] - 1
    with files.shp.open("rb") as shp, files.shx.open("rb") as shx:
        polygons = [shape(entry.__geo_interface__) for entry in shapefile.Reader(shp=shp, shx=shx).shapes()]
    assert [p.equals(q) for p, q in zip(polygons, made.stable, strict=True)] == [True] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["post" + suffix, "pre" + suffix, "stable.shp", "stable.shx"]
    )


def test_impossible_scenes_are_refused():
    with pytest.raises(ValueError, match="fit"):
        scene(0, n_points=10, change=(90, 3))
    with pytest.raises(ValueError, match="terrain"):
        scene(0, n_points=10, terrain="sea")
    with pytest.raises(ValueError, match="overlap"):
        scene(0, n_points=10, overlap=0.1)

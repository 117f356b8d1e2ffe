"""Whole surveys of small ground: pose, volume, and when there is none."""

import json
import struct

import numpy as np
import pytest
from pyproj import CRS
from scipy.spatial.transform import Rotation

from tests.unit.volcal.engine.conftest import FRAME, Survey, ground, las, polygons, surveyed
from volcal.engine.pose import in_site, inverse, moved

RADIUS_M, DEPTH_M = 6.0, 3.0
# Truncated Gaussian of s = r / 2: V = 2 pi s^2 d (1 - exp(-2)).
TRUTH_M3 = -2 * np.pi * (RADIUS_M / 2) ** 2 * DEPTH_M * (1 - np.exp(-2))


def pit(x: np.ndarray, y: np.ndarray, depth_m: float = DEPTH_M) -> np.ndarray:
    squared = (x - 31) ** 2 + (y - 28) ** 2
    return np.where(squared < RADIUS_M**2, -depth_m * np.exp(-squared / (RADIUS_M**2 / 2)), 0)


def turned(points: np.ndarray, yaw_deg: float, shift: tuple[float, float, float] = (3, -2, 1)) -> np.ndarray:
    turn = Rotation.from_euler("zyx", [yaw_deg, 2, -1], degrees=True).as_matrix()
    return (points - [30, 30, 0]) @ turn.T + [30, 30, 0] + shift


def test_a_turned_survey_gives_pose_and_volume(survey: Survey):
    post = surveyed(2, change=pit)
    survey.put_clouds(surveyed(1), turned(post, 137), offset=(452_000, 5_411_000, 300))

    total = survey.run()["total"]

    assert total["net_m3"] == pytest.approx(TRUTH_M3, abs=total["uncertainty_m3"])
    assert total["net_m3"] == pytest.approx(TRUTH_M3, rel=0.02)
    assert total["fill_m3"] == 0
    aligned = json.loads((survey.folder / "state" / "align" / "facts.json").read_text())
    offset = np.array([452_000, 5_411_000, 300])
    back = moved(np.array(aligned["pose_site"]), turned(post[:100], 137) + offset) - offset
    assert back == pytest.approx(post[:100], abs=0.02)
    assert np.array(aligned["pose_site_inverse"]) @ aligned["pose_site"] == pytest.approx(np.eye(4), abs=1e-6)


def test_unchanged_ground_has_no_region(survey: Survey):
    survey.put_clouds(surveyed(1), turned(surveyed(2), 40))

    facts = survey.run()

    assert facts["regions"] == []
    assert facts["total"]["net_m3"] == 0
    assert facts["total"]["uncertainty_m3"] > 0


def test_turns_by_ninety_degrees_and_shifts_leave_the_volume(survey: Survey, tmp_path):
    survey.parameters = {"alignment": "given"}
    pre, post = surveyed(1), surveyed(2, change=pit)
    other = Survey(tmp_path / "other", survey.parameters)
    boxes = [(2, 2, 14, 58), (46, 2, 58, 58), (16, 46, 44, 58), (16, 2, 44, 14)]
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    survey.put_clouds(pre, post)
    other.put(pre=las(pre @ quarter.T + [700, 90, 5]), post=las(post @ quarter.T + [700, 90, 5]))
    other.put(**polygons([(700 - d, 90 + a, 700 - b, 90 + c) for a, b, c, d in boxes]))

    first, second = survey.run()["total"], other.run()["total"]

    assert second["net_m3"] == pytest.approx(first["net_m3"], rel=2e-3)
    # Outlines follow the core points, which stand elsewhere after a turn; what they enclose does not change.
    assert second["area_m2"] == pytest.approx(first["area_m2"], rel=0.2)


def test_a_pit_deeper_than_the_reach_is_measured_whole(survey: Survey):
    survey.parameters = {"alignment": "given", "reach_m": 5}
    survey.put_clouds(surveyed(1), surveyed(2, change=lambda x, y: pit(x, y, 18)))

    facts = survey.run()

    (region,) = facts["regions"]
    assert region["net_m3"] == pytest.approx(TRUTH_M3 * 18 / DEPTH_M, rel=0.02)
    assert region["score"] > 0.5


def test_regions_add_up_to_the_total(survey: Survey):
    def both(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return pit(x, y + 6, 2.0) - pit(x, y - 6, 2.0)

    survey.parameters = {"alignment": "given"}
    survey.put_clouds(surveyed(1), surveyed(2, change=both))

    facts = survey.run()

    assert sorted(one["kind"] for one in facts["regions"]) == ["cut", "fill"]
    assert facts["total"]["net_m3"] == pytest.approx(sum(one["net_m3"] for one in facts["regions"]))
    assert facts["total"]["net_m3"] == pytest.approx(facts["total"]["fill_m3"] - facts["total"]["cut_m3"])
    for one in facts["regions"]:
        assert abs(one["net_m3"]) == pytest.approx(-TRUTH_M3 * 2 / DEPTH_M, rel=0.05)


def test_a_plane_is_refused_as_ambiguous(survey: Survey):
    flat = [surveyed(n) - np.array([0, 0, 1]) * ground(*surveyed(n)[:, :2].T)[:, None] for n in (1, 2)]
    survey.put_clouds(flat[0], turned(flat[1], 25))

    assert survey.refusal().code == "ambiguous_registration"


def test_a_plane_in_surveyed_coordinates_is_measured(survey: Survey):
    survey.parameters = {"alignment": "given"}
    pre, post = surveyed(1), surveyed(2, change=pit)
    for cloud in (pre, post):
        cloud[:, 2] -= ground(*cloud[:, :2].T)
    survey.put_clouds(pre, post)

    assert survey.run()["total"]["net_m3"] == pytest.approx(TRUTH_M3, rel=0.02)


def test_a_stable_area_on_the_pit_is_refused(survey: Survey):
    survey.put_clouds(surveyed(1), turned(surveyed(2, change=lambda x, y: pit(x, y, 6)), 10))
    survey.put(**polygons([(27, 24, 35, 32)]))

    assert survey.refusal().code in {"stable_area_moved", "stable_area_tiny"}


def test_one_moved_polygon_is_left_out_and_named(survey: Survey):
    def slump(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return pit(x, y) - np.where((y > 44) & (x > 15) & (x < 45), 0.4, 0.0)

    survey.put_clouds(surveyed(1), turned(surveyed(2, change=slump), 10))

    facts = survey.run()

    aligned = json.loads((survey.folder / "state" / "align" / "facts.json").read_text())
    assert [one["is_used"] for one in aligned["stable"]["polygons"]] == [True, True, False, True]
    cut = [one["net_m3"] for one in facts["regions"]]
    assert any(one == pytest.approx(TRUTH_M3, rel=0.03) for one in cut)
    assert any(one == pytest.approx(-0.4 * 30 * 16, rel=0.05) for one in cut)


@pytest.mark.parametrize(("polygon", "lowered_m"), [(0, 0.8), (0, -0.4), (1, 0.8), (3, 0.8)])
def test_a_side_of_the_stable_area_that_moved_does_not_tilt_the_rest(survey: Survey, polygon, lowered_m):
    west, south, east, north = FRAME[polygon]

    def slump(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return pit(x, y) - np.where((x > west) & (x < east) & (y > south) & (y < north), lowered_m, 0.0)

    survey.put_clouds(surveyed(1), turned(surveyed(2, change=slump), 10))

    facts = survey.run()

    aligned = json.loads((survey.folder / "state" / "align" / "facts.json").read_text())
    assert [one["is_used"] for one in aligned["stable"]["polygons"]] == [n != polygon for n in range(4)]
    assert aligned["stable"]["nmad_m"] < 1.5 * aligned["stable"]["expected_m"]
    assert any(one["net_m3"] == pytest.approx(TRUTH_M3, rel=0.03) for one in facts["regions"])


@pytest.mark.parametrize("lowered_m", [(0.4, -0.3, 0.15), (0.2, 0.1, -0.2)])
def test_stable_ground_of_which_the_parts_disagree_is_refused(survey: Survey, lowered_m):
    def settled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return pit(x, y) - np.select([x < 14, x > 46, y > 46], lowered_m, 0.0)

    survey.put_clouds(surveyed(1), turned(surveyed(2, change=settled), 10))

    assert survey.refusal().code == "stable_area_moved"


def test_a_tiny_stable_area_is_refused(survey: Survey):
    survey.put_clouds(surveyed(1), surveyed(2)).put(**polygons([(5, 5, 6, 6)]))

    assert survey.refusal().code == "stable_area_tiny"


def test_products_are_readable_and_agree(survey: Survey):
    import laspy
    import tifffile

    post = surveyed(2, change=pit)
    offset = (452_000, 5_411_000, 300)
    survey.put_clouds(surveyed(1), turned(post, 20), offset=offset, crs=CRS("EPSG:32632"))
    survey.parameters = {"density_t_m3": 2.0}
    survey.run("publish")

    products = survey.folder / "products"
    result = json.loads((products / "result.json").read_text())
    assert {path.name for path in products.iterdir()} >= set(result["downloads"].values())
    (hull,) = result["hulls"]
    assert hull["net_volume"] == pytest.approx(TRUTH_M3, rel=0.02)
    assert result["summary"]["net_mass_t"] == pytest.approx(2 * hull["net_volume"])
    assert result["summary"]["crs"]["epsg"] == 32632
    ring = np.array(hull["polygon"]["coordinates"][0])
    assert np.hypot(*(ring.mean(axis=0) - [452_031, 5_411_028])) < 2
    assert (products / hull["picture"]).read_bytes().startswith(b"\x89PNG")
    assert (products / "report.pdf").read_bytes().startswith(b"%PDF")

    with tifffile.TiffFile(products / "difference.tif") as tiff:
        page = tiff.pages[0]
        raster, tags = page.asarray(), page.tags
        scale, tie, keys = (tags[code].value for code in (33550, 33922, 34735))
    assert keys[-1] == 32632
    known = np.where(raster == -9999, 0, raster)
    row, column = int((tie[4] - 5_411_028) / scale[1]), int((452_031 - tie[3]) / scale[0])
    assert known[row, column] == pytest.approx(-DEPTH_M, abs=0.5)
    assert known.sum() * scale[0] * scale[1] == pytest.approx(TRUTH_M3, rel=0.1)

    aligned = laspy.read(products / "aligned.laz")
    assert aligned.header.parse_crs().to_epsg() == 32632
    assert np.array(aligned.xyz)[:200] - offset == pytest.approx(post[:200], abs=0.03)

    content = (products / "cloud.bin").read_bytes()
    n_points = struct.unpack_from("<I", content, 4)[0]
    assert content[:4] == b"VCP1"
    assert len(content) == 48 + 8 * n_points
    grid = result["summary"]["preview"]["grid"]
    before, after = (np.fromfile(products / f"{name}.f32", "<f4") for name in ("before", "after"))
    assert len(before) == len(after) == grid["rows"] * grid["columns"]


def test_a_pose_in_site_coordinates_moves_alike():
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    pose[:3, 3] = [1, 2, 3]
    origin, local = np.array([4e5, 5e6, 100]), np.array([[10.0, 20, 30]])

    site = in_site(pose, origin)

    assert moved(site, local + origin) == pytest.approx(moved(pose, local) + origin, abs=1e-6)
    assert moved(inverse(site), moved(site, local + origin)) == pytest.approx(local + origin, abs=1e-6)

"""Inputs that must end well: each refused with its own name, at the upload that is at fault."""

import json
import struct

import numpy as np
import pytest
from pyproj import CRS

from tests.unit.volcal.engine.conftest import FRAME, Survey, las, polygons, surveyed

PRE, POST = las(surveyed(1)), las(surveyed(2))
FEW = surveyed(3, 60)


def patched(content: bytes, at: int, form: str, *values: float) -> bytes:
    packed = struct.pack(form, *values)
    return content[:at] + packed + content[at + len(packed) :]


@pytest.mark.parametrize(
    ("label", "content", "code"),
    [
        ("pre", b"PK\x03\x04 a zip archive", "not_a_point_cloud"),
        ("pre", b"", "not_a_point_cloud"),
        ("post", PRE[:100], "truncated"),
        ("post", POST[: len(POST) // 2], "truncated"),
        ("post", las(surveyed(2), laz=False)[:-2000], "truncated"),
        ("pre", patched(las(surveyed(1), laz=False), 107, "<I", 0), "no_points"),
        ("pre", las(FEW), "too_few_points"),
        ("post", patched(POST, 131, "<d", float("nan")), "not_finite"),
        ("post", patched(POST, 155, "<d", float("inf")), "not_finite"),
        ("pre", patched(PRE, 25, "<B", 9), "not_a_point_cloud"),
        ("pre", las(np.tile([[1.0, 2.0, 3.0]], (5000, 1)), laz=False), "too_few_points"),
        ("pre", patched(PRE, 107, "<I", 20_000_000), "compression"),
        ("pre", patched(PRE, 107, "<I", 4_000_000_000), "too_many_points"),
        ("post", las(surveyed(2) + np.array([900, 0, 0])), "no_overlap"),
        ("shp", b"not a shapefile", "stable_area_unreadable"),
        ("shp", polygons(FRAME)["shp"][:150], "stable_area_unreadable"),
        ("shp", polygons([(500, 500, 600, 600)])["shp"], "stable_area_outside"),
        ("shp", json.dumps({"type": "FeatureCollection", "features": []}).encode(), "stable_area_empty"),
    ],
)
def test_broken_input_is_refused_by_name(survey: Survey, label, content, code):
    survey.put(pre=PRE, post=POST, **polygons(FRAME)).put(**{label: content})

    refused = survey.refusal("load")

    assert (refused.code, refused.label) == (code, label)
    assert not (survey.folder / "state" / "load").exists()


def test_a_cloud_beyond_the_limit_is_refused(survey: Survey):
    survey.parameters = {"max_points": 5000}
    survey.put(pre=PRE, post=POST, **polygons(FRAME))

    assert survey.refusal("load").code == "too_many_points"


def test_clouds_in_different_systems_are_refused(survey: Survey):
    survey.put(pre=las(surveyed(1), crs=CRS("EPSG:32632")), post=las(surveyed(2), crs=CRS("EPSG:32633")))
    survey.put(**polygons(FRAME))

    refused = survey.refusal("load")

    assert refused.code == "different_crs"
    assert "32N" in refused.detail
    assert "33N" in refused.detail


def test_degrees_are_refused(survey: Survey):
    survey.put(pre=las(surveyed(1), crs=CRS("EPSG:4326")), post=POST, **polygons(FRAME))

    assert survey.refusal("load").code == "crs_not_in_metres"


def test_geojson_in_degrees_finds_its_place_in_the_clouds_system(survey: Survey):
    from pyproj import Transformer

    offset = (452_000.0, 5_411_000.0, 0.0)
    back = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    corners = [(2, 2), (2, 14), (58, 14), (58, 2), (2, 2)]
    ring = [back.transform(offset[0] + x, offset[1] + y) for x, y in corners]
    area = {"type": "Polygon", "coordinates": [ring], "crs": {"properties": {"name": "EPSG:4326"}}}
    clouds = {name: las(surveyed(n), offset=offset, crs=CRS("EPSG:32632")) for n, name in enumerate(("pre", "post"))}
    survey.put(shp=json.dumps(area).encode(), **clouds)

    facts = survey.run("load")

    from shapely import from_wkt

    origin = np.array(facts["origin_m"][:2])
    found = np.array(from_wkt(facts["polygons"][0]).bounds).reshape(2, 2) + origin - offset[:2]
    assert found == pytest.approx(np.array([[2, 2], [58, 14]]), abs=0.01)
    assert facts["epsg"] == 32632


def test_order_and_duplicates_of_points_leave_no_trace(survey: Survey, tmp_path):
    pre = surveyed(1)
    shuffled = np.random.default_rng(0).permutation(np.concatenate((pre, pre[:3000])))
    other = Survey(tmp_path / "other").put(pre=las(shuffled), post=POST, **polygons(FRAME))
    survey.put(pre=PRE, post=POST, **polygons(FRAME))

    first, second = survey.run("load"), other.run("load")

    read = [np.load(one.folder / "state" / "load" / "pre.npy") for one in (survey, other)]
    assert first["clouds"]["pre"]["n_used"] == second["clouds"]["pre"]["n_used"]
    assert second["clouds"]["pre"]["n_duplicates"] == 3000 + first["clouds"]["pre"]["n_duplicates"]
    assert np.array_equal(read[0] + first["origin_m"], read[1] + second["origin_m"])


def test_points_in_the_air_are_left_out(survey: Survey):
    pre = surveyed(1)
    pre[:100, 2] += np.linspace(15, 30, 100)
    survey.put(pre=las(pre), post=POST, **polygons(FRAME))

    facts = survey.run("load")

    assert 95 <= facts["clouds"]["pre"]["n_outliers"] <= 105
    assert facts["clouds"]["post"]["n_outliers"] == 0
    assert facts["spacing_m"] == pytest.approx(60 / np.sqrt(12_000), rel=0.1)

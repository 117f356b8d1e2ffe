"""What a person may choose, and how a wrong choice is named."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from volcal.engine.errors import InvalidParameter
from volcal.engine.parameters import Parameters
from volcal.engine.stages import STAGES

ENGINE = Path(__file__).resolve().parents[4] / "volcal" / "engine"


def test_defaults_survive_a_round_trip():
    assert Parameters.from_json(Parameters().as_json()) == Parameters()
    assert Parameters.from_json({}) == Parameters()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unheard_of", 1),
        ("alignment", "guess"),
        ("alignment", None),
        ("core_spacing", 0),
        ("core_spacing", "3"),
        ("core_spacing", True),
        ("core_spacing", float("nan")),
        ("min_region_cores", 8.5),
        ("crs", "UTM 33"),
        ("min_region_cores", float("inf")),
        pytest.param("max_points", 10**400, id="max_points-401 digits"),
        pytest.param("density_t_m3", -(10**400), id="density-401 digits"),
        ("crs", 32633),
        ("crs", "EPSG:²²²²"),
        ("crs", "EPSG:3263\n"),
        ("crs", "EPSG:999999"),
        ("crs", "EPSG:4326"),
        ("crs", "EPSG:4978"),
        ("crs", "EPSG:5773"),
        ("crs", "EPSG:2225"),
    ],
)
def test_a_wrong_value_is_named(name, value):
    with pytest.raises(InvalidParameter) as caught:
        Parameters.from_json({name: value})

    assert caught.value.field == name


def test_good_values_are_kept():
    chosen = Parameters.from_json({"crs": "epsg:32633", "reach_m": 20, "min_region_cores": 12, "density_t_m3": None})

    assert (chosen.crs, chosen.reach_m, chosen.min_region_cores) == ("EPSG:32633", 20.0, 12)
    assert isinstance(chosen.min_region_cores, int)


def test_the_engine_imports_neither_django_nor_the_desk():
    wrong = []
    for path in sorted(ENGINE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.append(node.module)
            known = {"django", "jobs", "uploads", "captioning", "orchestrator", "volcal"}
            wrong += [f"{path.name}:{node.lineno} imports {name}" for name in names if name.split(".")[0] in known]
    assert wrong == []


def test_only_the_stage_that_triangulates_loads_scipy():
    stages = ", ".join(f"volcal.engine.{one}" for one in STAGES if one != "measure")
    text = f"import {stages}, sys; print('scipy' in sys.modules)"

    said = subprocess.run(
        [sys.executable, "-c", text], cwd=ENGINE.parents[1], capture_output=True, text=True, check=True
    )

    assert said.stdout.split() == ["False"]

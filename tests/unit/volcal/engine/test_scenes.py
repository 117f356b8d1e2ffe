"""The engine against scenes from a generator that knows nothing of it, with exact truth."""

from pathlib import Path

import numpy as np
import pytest

from tests.scenes import Scene, scene
from tests.unit.volcal.engine.conftest import Survey
from tests.unit.volcal.engine.posebound import pose_bound
from volcal.engine.pose import inverse, moved, turn_deg
from volcal.engine.workfolder import WorkFolder

CHANGE = (10, 6)  # radius and depth, metres: 815 m3


def measured(survey: Survey, made: Scene) -> dict:
    files = made.write(survey.folder / "written")
    survey.put(**{label: Path(getattr(files, label)).read_bytes() for label in ("pre", "post", "shp", "shx")})
    return survey.run()


@pytest.mark.parametrize(
    ("seed", "setting"),
    [
        (1, {"terrain": "quarry", "yaw_deg": 5, "tilt_deg": 5, "noise": 0.01}),
        (2, {"terrain": "ridge", "yaw_deg": 97, "outliers": 0.02}),
        (3, {"terrain": "mound", "yaw_deg": 180, "overlap": 0.8}),
        (4, {"terrain": "quarry", "yaw_deg": 61, "density_gradient": True}),
    ],
)
def test_pose_and_volume_of_a_made_up_site(survey: Survey, seed, setting):
    made = scene(seed, n_points=200_000, change=CHANGE, shift_m=12, **setting)

    total = measured(survey, made)["total"]

    pose = np.array(WorkFolder(survey.folder).facts("align")["pose_site"])
    middle = made.post.mean(axis=0, keepdims=True)
    bound = pose_bound(made, setting.get("noise", 0.05))
    assert turn_deg(pose @ inverse(made.pose)) <= max(0.005, 2.5 * bound.turn_deg)
    assert np.linalg.norm(moved(pose, middle) - moved(made.pose, middle)) <= max(0.005, 2.5 * bound.shift_m)
    assert total["net_m3"] == pytest.approx(made.net, rel=0.005)
    assert total["net_m3"] == pytest.approx(made.net, abs=1.5 * total["uncertainty_m3"])


def test_an_unchanged_site_has_no_region(survey: Survey):
    facts = measured(survey, scene(5, terrain="ridge", n_points=200_000, change=None, yaw_deg=140))

    assert facts["regions"] == []


def test_a_site_without_shape_is_refused(survey: Survey):
    files = scene(6, terrain="flat", n_points=200_000, change=CHANGE, yaw_deg=70, overlap=0.8).write(
        survey.folder / "w"
    )
    survey.put(**{label: Path(getattr(files, label)).read_bytes() for label in ("pre", "post", "shp", "shx")})

    assert survey.refusal().code == "ambiguous_registration"

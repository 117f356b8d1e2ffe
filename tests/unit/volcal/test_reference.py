"""The reference page names what there is."""

from pathlib import Path

from volcal.engine.parameters import Parameters
from volcal.engine.stages import STAGES
from volcal.states import TaskStatus

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "surveys.md").read_text(encoding="utf-8")


def test_every_parameter_status_and_stage_is_on_the_reference_page():
    names = [*Parameters().as_json(), *TaskStatus, *STAGES]

    assert [name for name in names if f"`{name}`" not in PAGE] == []

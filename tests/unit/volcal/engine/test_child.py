"""The child process: its protocol, and that it ends well however it ends."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.surveys import assert_gone
from tests.unit.volcal.engine.conftest import FRAME, Survey, las, polygons, surveyed
from volcal.engine.process import Engine, Message
from volcal.engine.stages import STAGES

PROJECT = Path(__file__).resolve().parents[4]


def engine_of(**options: Any) -> Engine:
    return Engine([sys.executable, "-m", "volcal.engine"], threads=1, cwd=PROJECT, **options)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with engine_of() as engine:
        yield engine


def said_about(engine: Engine, survey: Survey, stage: str, deadline_seconds: float | None = None) -> Iterator[Message]:
    with (survey.folder / "log").open("ab") as log:
        yield from filter(None, engine.run(stage, survey.folder, log=log.fileno(), deadline_seconds=deadline_seconds))


def ended(said: Iterator[Message]) -> tuple[int, list[Message]]:
    *lines, last = said
    return last["ended"], lines


@pytest.fixture
def small(survey: Survey) -> Survey:
    return survey.put(pre=las(surveyed(1)), post=las(surveyed(2)), **polygons(FRAME))


@pytest.fixture
def slow(survey: Survey) -> Survey:
    many = surveyed(1, 600_000)
    return survey.put(pre=las(many), post=las(many), **polygons(FRAME))


def test_a_stage_reports_progress_and_leaves_its_state(engine: Engine, small: Survey):
    code, lines = ended(said_about(engine, small, "load"))

    assert code == 0
    assert lines[-1] == {"progress": 1.0, "detail": "loaded"}
    shares = [one["progress"] for one in lines]
    assert shares == sorted(shares)
    assert (small.folder / "state" / "load" / "facts.json").exists()
    assert not (small.folder / "temp").exists()


def test_a_refusal_is_told_apart(engine: Engine, small: Survey):
    small.put(post=b"no cloud")

    code, lines = ended(said_about(engine, small, "load"))

    assert code == 3
    assert lines[-1]["error"]["code"] == "not_a_point_cloud"
    assert lines[-1]["error"]["label"] == "post"


def test_a_wrong_parameter_is_named(engine: Engine, small: Survey):
    (small.folder / "parameters.json").write_text('{"core_spacing": 99}')

    code, lines = ended(said_about(engine, small, "load"))

    assert code == 3
    assert "core_spacing" in lines[-1]["error"]["detail"]


def test_a_bug_leaves_a_trace_and_its_own_code(engine: Engine, small: Survey):
    code, lines = ended(said_about(engine, small, "align"))  # without the stage before it

    assert code == 1
    assert lines[-1]["error"]["code"] == "bug"
    assert "Traceback" in (small.folder / "log").read_text()


def test_want_of_memory_is_told_apart(slow: Survey):
    slow.put(pre=las(surveyed(1, 1_500_000), laz=False))

    with engine_of(memory_mb=120) as engine:
        code, lines = ended(said_about(engine, slow, "load"))

    assert code == 4
    assert lines[-1]["error"]["code"] == "memory"
    assert not (slow.folder / "temp").exists()


def test_the_deadline_ends_a_stage(engine: Engine, slow: Survey):
    code, lines = ended(said_about(engine, slow, "load", deadline_seconds=0.2))

    assert code == 5
    assert lines[-1]["error"]["code"] == "deadline"
    assert not (slow.folder / "temp").exists()
    assert not (slow.folder / "state").exists()


def test_sigterm_ends_all_and_leaves_nothing_behind(engine: Engine, slow: Survey):
    said = said_about(engine, slow, "load")
    next(said)  # it is computing
    guardian, (computing,) = guardian_of(engine), children_of(guardian_of(engine))

    os.kill(guardian, signal.SIGTERM)
    code, lines = ended(said)

    assert code == 128 + signal.SIGTERM
    assert lines[-1]["error"]["code"] == "terminated"
    assert not (slow.folder / "temp").exists()
    assert_gone([computing, guardian])


def test_killing_the_guardian_kills_the_computation(engine: Engine, slow: Survey):
    said = said_about(engine, slow, "load")
    next(said)
    (computing,) = children_of(guardian_of(engine))

    os.kill(guardian_of(engine), signal.SIGKILL)

    assert ended(said)[0] == -signal.SIGKILL
    assert_gone([computing])


def test_a_computation_that_dies_leaves_a_guardian_for_the_next_stage(engine: Engine, slow: Survey):
    said = said_about(engine, slow, "load")
    next(said)
    guardian = guardian_of(engine)

    os.kill(*children_of(guardian), signal.SIGKILL)
    code, lines = ended(said)
    slow.put(pre=b"no cloud")

    assert (code, lines[-1]["error"]["code"]) == (6, "crashed")
    assert not (slow.folder / "temp").exists()
    assert ended(said_about(engine, slow, "load"))[0] == 3
    assert guardian_of(engine) == guardian


def test_a_whole_survey_has_one_guardian_of_one_thread_with_all_libraries(engine: Engine, small: Survey):
    guardians = set()

    for stage in STAGES:
        assert ended(said_about(engine, small, stage))[0] == 0
        guardians.add(guardian_of(engine))

    (guardian,) = guardians
    assert len(list(Path(f"/proc/{guardian}/task").iterdir())) == 1
    maps = Path(f"/proc/{guardian}/maps").read_text()
    assert all(one in maps for one in ("numpy", "scipy", "_py4dgeo", "PIL"))
    assert (small.folder / "products" / "result.json").exists()


def guardian_of(engine: Engine) -> int:
    assert engine.pid is not None
    return engine.pid


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

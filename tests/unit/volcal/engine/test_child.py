"""The child process: its protocol, and that it ends well however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.volcal.engine.conftest import FRAME, Survey, las, polygons, surveyed

PROJECT = Path(__file__).resolve().parents[4]


def start(survey: Survey, stage: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "volcal.engine", stage, str(survey.folder), "--threads", "1", *more]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(child: subprocess.Popen[str]) -> tuple[int, list[dict], str]:
    out, err = child.communicate(timeout=120)
    return child.returncode, [json.loads(line) for line in out.splitlines()], err


@pytest.fixture
def small(survey: Survey) -> Survey:
    return survey.put(pre=las(surveyed(1)), post=las(surveyed(2)), **polygons(FRAME))


@pytest.fixture
def slow(survey: Survey) -> Survey:
    many = surveyed(1, 600_000)
    return survey.put(pre=las(many), post=las(many), **polygons(FRAME))


def test_a_stage_reports_progress_and_leaves_its_state(small: Survey):
    code, lines, _ = ended(start(small, "load"))

    assert code == 0
    assert lines[-1] == {"progress": 1.0, "detail": "loaded"}
    shares = [one["progress"] for one in lines]
    assert shares == sorted(shares)
    assert (small.folder / "state" / "load" / "facts.json").exists()
    assert not (small.folder / "temp").exists()


def test_a_refusal_is_told_apart(small: Survey):
    small.put(post=b"no cloud")

    code, lines, _ = ended(start(small, "load"))

    assert code == 3
    assert lines[-1]["error"]["code"] == "not_a_point_cloud"
    assert lines[-1]["error"]["label"] == "post"


def test_a_wrong_parameter_is_named(small: Survey):
    (small.folder / "parameters.json").write_text('{"core_spacing": 99}')

    code, lines, _ = ended(start(small, "load"))

    assert code == 3
    assert "core_spacing" in lines[-1]["error"]["detail"]


def test_a_bug_leaves_a_trace_and_its_own_code(small: Survey):
    code, lines, err = ended(start(small, "align"))  # without the stage before it

    assert code == 1
    assert lines[-1]["error"]["code"] == "bug"
    assert "Traceback" in err


def test_want_of_memory_is_told_apart(slow: Survey):
    slow.put(pre=las(surveyed(1, 1_500_000), laz=False))

    code, lines, _ = ended(start(slow, "load", "--memory-mb", "120"))

    assert code == 4
    assert lines[-1]["error"]["code"] == "memory"
    assert not (slow.folder / "temp").exists()


def test_the_deadline_ends_a_stage(slow: Survey):
    code, lines, _ = ended(start(slow, "load", "--deadline-seconds", "1"))

    assert code == 5
    assert lines[-1]["error"]["code"] == "deadline"
    assert not (slow.folder / "temp").exists()
    assert not (slow.folder / "state").exists()


def test_sigterm_ends_all_and_leaves_nothing_behind(slow: Survey):
    child = start(slow, "load")
    assert child.stdout is not None
    child.stdout.readline()  # it is computing
    computing = children_of(child.pid)
    assert len(computing) == 1

    child.send_signal(signal.SIGTERM)
    code, lines, _ = ended(child)

    assert code == 128 + signal.SIGTERM
    assert lines[-1]["error"]["code"] == "terminated"
    assert not (slow.folder / "temp").exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in computing)


def test_killing_the_guardian_kills_the_computation(slow: Survey):
    child = start(slow, "load")
    assert child.stdout is not None
    child.stdout.readline()
    (computing,) = children_of(child.pid)

    child.kill()
    child.wait()

    deadline = time.monotonic() + 30
    while is_running(computing):
        assert time.monotonic() < deadline, "the computation outlived its guardian"
        os.sched_yield()


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False

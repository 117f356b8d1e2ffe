"""The engine from outside: its guardian stays for the next stage, and nothing of the one before stays with it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.surveys import FakeEngine, assert_gone, lives
from volcal.engine.process import Engine, Message

PROJECT = Path(__file__).resolve().parents[4]


@pytest.fixture
def guarded(engine: FakeEngine) -> Iterator[Engine]:
    with Engine(engine.command, cwd=PROJECT) as guarded:
        yield guarded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return survey_folder(tmp_path / "survey")


def survey_folder(place: Path) -> Path:
    (place / "input").mkdir(parents=True)
    return place


def begin(guarded: Engine, stage: str, folder: Path, **how: Any) -> Iterator[Message | None]:
    with (folder / "log").open("ab") as log:
        yield from guarded.run(stage, folder, log=log.fileno(), **how)


def code_of(guarded: Engine, stage: str, folder: Path, **how: Any) -> int:
    *_, last = begin(guarded, stage, folder, **how)
    assert last is not None
    return last["ended"]


def test_stages_in_a_row_are_children_of_one_guardian(engine, guarded, folder):
    codes = [code_of(guarded, stage, folder) for stage in ("load", "align")]

    assert codes == [0, 0]
    assert len(set(engine.pids())) == 2
    assert engine.guardians() == [guarded.pid] * 2


def test_the_end_of_a_stage_tells_what_it_cost(engine, guarded, folder):
    *_, ended = begin(guarded, "load", folder)

    assert ended is not None
    assert ended["ended"] == 0
    assert ended["cpu_seconds"] > 0
    assert ended["peak_mb"] > 1


@pytest.mark.parametrize(("do", "code"), [("refuse", 3), ("memory", 4), ("bug", 1), ("crash", 6)])
def test_a_stage_that_ended_badly_leaves_its_guardian(engine, guarded, folder, do, code):
    engine.plan(load={"do": do, "code": "no", "detail": "No.", "times": 1})

    assert code_of(guarded, "load", folder) == code
    assert code_of(guarded, "align", folder) == 0
    assert engine.guardians() == [guarded.pid] * 2


def test_a_deadline_leaves_the_guardian(engine, guarded, folder):
    engine.plan(load={"do": "wait"})

    assert code_of(guarded, "load", folder, deadline_seconds=0.1) == 5
    assert code_of(guarded, "align", folder, deadline_seconds=60) == 0
    assert len(set(engine.guardians())) == 1


def test_nothing_of_one_survey_is_seen_by_the_next(engine, guarded, tmp_path):
    engine.plan(load={"do": "look"})
    first, second = (survey_folder(tmp_path / name) for name in ("first", "second"))

    assert [code_of(guarded, "load", one) for one in (first, second)] == [0, 0]

    seen = engine.seen()[1]
    assert len(set(engine.guardians())) == 1
    assert (seen["cwd"], seen["temporary"], seen["trace"]) == (str(PROJECT), str(second / "tmp"), None)
    assert str(second / "log") in seen["files"]
    assert not any(str(first) in one for one in seen["files"])


def test_what_is_held_stays_open_as_long_as_the_stage_lives(engine, guarded, folder):
    engine.plan(load={"do": "wait"})
    held, other = (os.open(folder, os.O_RDONLY) for _ in range(2))
    fcntl.flock(held, fcntl.LOCK_EX)
    said = begin(guarded, "load", folder, held=[held])
    while next(said) is None:
        pass  # until it is computing
    os.close(held)

    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    engine.let_go()
    *_, ended = said

    assert ended is not None
    assert ended["ended"] == 0
    assert lives(guarded.pid)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_a_guardian_killed_while_idle_is_replaced(engine, guarded, folder):
    code_of(guarded, "load", folder)
    os.kill(guarded.pid, signal.SIGKILL)

    assert code_of(guarded, "align", folder) == 0
    assert len(set(engine.guardians())) == 2


def test_a_guardian_that_dies_before_its_first_word_is_replaced(engine, guarded, folder):
    code_of(guarded, "load", folder)
    os.kill(guarded.pid, signal.SIGSTOP)
    said = begin(guarded, "align", folder)
    assert next(said) is None  # asked, and not answered

    os.kill(guarded.pid, signal.SIGKILL)
    *_, ended = said

    assert ended is not None
    assert ended["ended"] == 0
    assert engine.runs() == ["load", "align"]


def test_a_guardian_that_dies_with_its_stage_is_not_asked_again(engine, guarded, folder):
    code_of(guarded, "load", folder)
    engine.plan(align={"do": "orphan"})

    assert code_of(guarded, "align", folder) == -signal.SIGKILL
    assert engine.runs() == ["load", "align"]
    assert_gone(engine.pids())


@pytest.mark.parametrize(("text", "code"), [("raise SystemExit(7)", 7), ("pass", 6)])
def test_a_guardian_that_never_served_is_started_once_and_nothing_is_done(folder, text, code):
    with Engine([sys.executable, "-c", text], cwd=PROJECT) as guarded:
        assert code_of(guarded, "load", folder) == code
        assert guarded.pid is None


def test_a_process_that_a_stage_left_behind_goes_with_the_guardian(engine, guarded, folder):
    engine.plan(load={"do": "litter"})

    assert code_of(guarded, "load", folder) == 0
    assert_gone([*engine.guardians(), engine.grandchild()])
    assert code_of(guarded, "align", folder) == 0


def test_an_end_leaves_nothing_of_a_stage_that_hangs(engine, guarded, folder):
    engine.plan(load={"do": "hang"})
    said = begin(guarded, "load", folder)
    while not engine.grandchild():
        next(said)

    guarded.end(grace_seconds=0.2)

    assert_gone([*engine.pids(), *engine.guardians(), engine.grandchild()])


def test_a_stage_that_was_left_before_its_end_is_ended_by_the_next(engine, guarded, folder):
    engine.plan(load={"do": "wait"})
    said = begin(guarded, "load", folder)
    while next(said) is None:
        pass

    assert code_of(guarded, "align", folder) == 0
    assert_gone(engine.pids())


def test_a_guardian_that_nobody_asks_ends_by_itself(engine, folder):
    with Engine(engine.command, cwd=PROJECT, idle_seconds=0.1) as guarded:
        code_of(guarded, "load", folder)
        (guardian,) = engine.guardians()

        assert_gone([guardian])
        assert code_of(guarded, "align", folder) == 0


def test_a_guardian_ends_when_its_channel_is_closed(engine, folder):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, (folder / "log").open("ab") as log:
        guardian = subprocess.Popen(
            [*engine.command, f"--channel={theirs.fileno()}"], cwd=PROJECT, pass_fds=[theirs.fileno()]
        )
        theirs.close()
        request = {"stage": "load", "folder": str(folder), "deadline_seconds": None}
        socket.send_fds(ours, [json.dumps(request).encode()], [log.fileno()])
        while "ended" not in json.loads(ours.recv(65536)):
            pass

    assert guardian.wait(30) == 0


@pytest.mark.parametrize(
    "library",
    [
        "raise ImportError",
        "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    ],
)
def test_a_guardian_that_cannot_load_a_library_well_does_not_stay(tmp_path, folder, library):
    (tmp_path / "unsound.py").write_text(library)
    text = "import sys; from volcal.engine.__main__ import main; sys.path.append(sys.argv[1]); "
    text += "sys.exit(main(sys.argv[2:], run=lambda *_: None, libraries=['unsound', 'never_asked_for']))"

    with Engine([sys.executable, "-c", text, str(tmp_path)], cwd=PROJECT) as guarded:
        for stage in ("load", "align"):
            assert code_of(guarded, stage, folder) == 0
            assert guarded.pid is None

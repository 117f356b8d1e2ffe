"""Surveys made for tests: tasks with files, and an engine that does what a plan says."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import TestCase

from jobs.admission import admit
from jobs.clusters import Cluster, QueueName
from tests.workbench.rows import work
from tests.workbench.waiting import wait_until
from uploads.finishing import finish
from uploads.holds import Hold
from uploads.models import Upload
from uploads.sinks import sink_of
from volcal import intake
from volcal.models import Label, Survey


class FakeEngine:
    """Controls the program of tests/workbench/fake_engine.py. folder: where its plan and its notes lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan()

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.workbench.fake_engine", str(self.folder / "plan.json")]

    def plan(self, **stages: dict[str, Any]) -> None:
        (self.folder / "plan.json").write_text(json.dumps(stages))

    def runs(self) -> list[str]:
        """List the stages that were started, in order."""
        return [line.split()[0] for line in self._notes("runs")]

    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self._notes("runs")]

    def guardians(self) -> list[int]:
        """List the process that watched over each of the runs."""
        return [int(line.split()[2]) for line in self._notes("runs")]

    def grandchild(self) -> int:
        """Return the process that a stage started, 0 as long as there is none."""
        return int(next(iter(self._notes("grandchild")), 0))

    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._notes("seen")]

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def _notes(self, name: str) -> list[str]:
        notes = self.folder / name
        return notes.read_text().splitlines() if notes.exists() else []


def lives(pid: int) -> bool:
    """Say whether there is such a process; one that waits for its funeral is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def assert_gone(pids: Sequence[int]) -> None:
    """Make sure that processes have ended, or are about to: a killed one needs a moment."""
    wait_until(lambda: not any(map(lives, pids)), seconds=5, what="the processes to end")


def committed() -> Any:
    """Do at the end of the block what waits for a commit: a test in a transaction of its own never sees one."""
    return TestCase.captureOnCommitCallbacks(execute=True)


def send(upload: Upload, content: bytes, *, is_last: bool = True) -> None:
    """Put bytes at the end of an upload as a client does, and close it."""
    with committed(), Hold.take(upload.pk) as hold:
        with sink_of(hold.load()) as sink:
            sink.append([content])
            hold.save_offset(*sink.settle())
        if is_last:
            hold.renew(length=hold.load().offset)
            finish(hold)


def upload_of(survey: Survey, label: str) -> Upload:
    return survey.files.get(label=label).upload


def upload_all(survey: Survey, *, without: tuple[str, ...] = ()) -> None:
    for label in Label:
        if label.value not in without:
            send(upload_of(survey, label.value), f"bytes of {label.value}".encode())


def make_survey(by: User, *, with_files: bool = True, **choices: Any) -> Survey:
    survey = intake.create(by=by, **choices)
    if with_files:
        upload_all(survey)
    return fresh(survey)


def fresh(survey: Survey) -> Survey:
    return Survey.objects.select_related("job", "user").get(pk=survey.pk)


def measure(survey: Survey) -> Survey:
    """Work until nothing of the heavy cluster is left to do."""
    with committed():
        admit(QueueName.HEAVY)  # where what waits for a commit came from elsewhere
        work(Cluster.HEAVY)
    return fresh(survey)


def status_of(survey: Survey) -> str:
    survey = fresh(survey)
    return survey.status(survey.missing()).value


def work_folders() -> list[str]:
    """List the folders that surveys have on this machine."""
    root = Path(settings.VAR_DIR) / "work"
    return [path.name for path in root.iterdir()] if root.is_dir() else []

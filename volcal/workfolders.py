"""Where the stages of a survey leave what the next one needs: one folder a job on the machine that runs it.

The folder is a cache. Inputs lie in the store, stages are deterministic, and whoever finds no folder makes it again; so
a lost machine costs time and nothing else, and nothing has to be cleaned up anywhere but here.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings

from jobs.models import Job
from jobs.states import ACTIVE

CHUNK_BYTES = 1024 * 1024


class FolderBusy(Exception):
    """Another process of this machine works in the folder."""


class WorkFolder:
    """One job's folder, held by this process and by the children that it passes `lock` to."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock

    def has_done(self, stage: str) -> bool:
        return (self.path / "done" / stage).exists()

    def mark_done(self, stage: str) -> None:
        (self.path / "done").mkdir(exist_ok=True)
        (self.path / "done" / stage).touch()

    def use_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Hand the engine its parameters. Stages that ran with others are undone: a result has one set of them."""
        place = self.path / "parameters.json"
        text = json.dumps(dict(parameters), sort_keys=True)
        if place.exists() and place.read_text(encoding="utf-8") == text:
            return
        shutil.rmtree(self.path / "done", ignore_errors=True)
        place.write_text(text, encoding="utf-8")

    def has_input(self, label: str) -> bool:
        return (self.path / "input" / label).exists()

    def take_input(self, label: str, source: BinaryIO) -> None:
        """Copy an upload here; half a copy never counts."""
        place = self.path / "input" / label
        place.parent.mkdir(exist_ok=True)
        part = place.with_name(f"{label}.part")
        with part.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        part.replace(place)

    @property
    def products(self) -> Path:
        return self.path / "products"

    @property
    def log(self) -> Path:
        return self.path / "log"


@contextmanager
def opened(job_id: UUID) -> Iterator[WorkFolder]:
    """Make or find the folder of a job and hold it. Raises FolderBusy.

    The lock belongs to the open file, so a child that inherits it keeps the folder even where this process dies.
    """
    path = _root() / str(job_id)
    path.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        yield WorkFolder(path, lock)
    finally:
        os.close(lock)


def sweep() -> None:
    """Remove the folders of jobs that are final or gone, unless somebody is still at work in them."""
    folders = {path.name: path for path in _root().iterdir()} if _root().is_dir() else {}
    if not folders:
        return
    active = Job.objects.filter(job_id__in=[name for name in folders if _is_uuid(name)], status__in=ACTIVE)
    open_ids = {str(job_id) for job_id in active.values_list("job_id", flat=True)}
    for name, path in folders.items():
        if name not in open_ids:
            _remove(path)


def _remove(path: Path) -> None:
    try:
        lock = _lock(path)
    except (FolderBusy, FileNotFoundError):
        return
    try:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or os.fstat(lock).st_ino != path.stat().st_ino:
            raise FolderBusy(f"{path.name} was removed at this moment.")
    except BaseException as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise FolderBusy(f"Another process works in {path.name}.") from None
        raise
    return lock


def _root() -> Path:
    return settings.VAR_DIR / "work"


def _is_uuid(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True

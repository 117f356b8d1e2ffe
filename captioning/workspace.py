"""The folder of data sets on this server: what a path in a request may mean, and what lies in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from orchestrator.problems import Invalid


class PathRefused(Invalid):
    """Path refused"""


def file_at(path: str) -> Path:
    """Resolve the path of a regular file inside the workspace, links followed. Raises PathRefused."""
    place = _inside(path)
    if not place.is_file():  # also keeps pipes and devices from being read for ever
        raise _nothing_at(path)
    return place


def folder_at(path: str) -> Path:
    """Resolve the path of a folder inside the workspace, links followed. Raises PathRefused."""
    place = _inside(path)
    if not place.is_dir():
        raise _nothing_at(path)
    return place


def name_of(place: Path) -> str:
    """Name a resolved place by its path below the workspace."""
    return place.relative_to(_root()).as_posix()


def files_below(folder: Path) -> Iterator[str]:
    """Walk a resolved folder in the order of names; yields paths below the workspace, hidden ones left out.

    The files of a folder come before its folders.
    Links to folders are not followed (they may run in circles); links to files are listed, and judged when read.
    """
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as entries:
                visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            raise PathRefused(f"The folder {name_of(current)!r} cannot be read: {error.strerror}.") from None
        yield from (name_of(current / entry.name) for entry in visible if entry.is_file())
        pending += [current / entry.name for entry in reversed(visible) if entry.is_dir(follow_symlinks=False)]


def _inside(path: str) -> Path:
    """Resolve a path that is relative to the workspace, absolute inside it, or starts with / at the workspace."""
    root = _root()
    for candidate in (path, path.lstrip("/")):
        try:
            # Where it really lies decides, so that neither `..` nor a link leads out.
            place = (root / candidate).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # absent, a circle of links, too long, a NUL character
            continue
        if place.is_relative_to(root):
            return place
    # One answer for what is missing and what lies outside, so that nobody learns what is there.
    raise _nothing_at(path)


def _nothing_at(path: str) -> PathRefused:
    shown = path[:200].replace("\0", "").encode("utf-8", "replace").decode()
    return PathRefused(f"There is no such place in the workspace: {shown!r}. Name a path below it.")


def _root() -> Path:
    return Path(settings.WORKSPACE_PATH).resolve()

"""How stages end, what the engine refuses to measure, and why."""

from __future__ import annotations

import enum
import signal
from typing import Literal

Label = Literal["pre", "post", "shp", "shx"]


class ExitCode(enum.IntEnum):
    """How a stage ended."""

    DONE = 0
    BUG = 1
    REFUSED = 3
    MEMORY = 4
    DEADLINE = 5
    CRASHED = 6
    DISK = 7
    TERMINATED = 128 + signal.SIGTERM


class Refused(Exception):
    """These inputs carry no trustworthy volume.

    code: a short name that programs compare.
    detail: what is wrong and what to do about it, for the person who uploaded.
    label: the upload that is at fault, None if they only fail together.
    """

    def __init__(self, code: str, detail: str, label: Label | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.label = label


class InvalidParameter(ValueError):
    """A parameter is unknown or out of its bounds."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail

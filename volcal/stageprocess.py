"""One stage as a child process: started in a session of its own, watched, and never left behind."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any

from django.conf import settings

from jobs.pipelines import Cancelled, Permanent, RetryLater
from orchestrator.deathsig import die_with

from .workfolders import WorkFolder

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2  # how often somebody looks whether the stage is still wanted
GRACE_SECONDS = 8.0  # from TERM to KILL; with the look before it, a cancelled child is gone within ten
LONGEST_LINE = 64 * 1024
LOG_TAIL = 4000  # characters of the child's stderr that are logged


class Exit(IntEnum):
    """How the child says that it ended (volcal/engine/__main__.py)."""

    DONE = 0
    REFUSED = 3
    MEMORY = 4
    DEADLINE = 5
    CRASHED = 6


def run(
    stage: str,
    folder: WorkFolder,
    *,
    deadline_seconds: float,
    report: Callable[[float, str], None],
    stopped: Callable[[], bool],
) -> None:
    """Run one stage to its end.

    Raises Cancelled if it was not wanted any more, Permanent if the inputs are refused or the engine cannot do it,
    RetryLater if it died by chance. In every case no process of it is left.
    """
    with folder.log.open("ab") as log:
        log_from = log.tell()
        process = subprocess.Popen(
            [
                *settings.SURVEY_ENGINE,
                stage,
                str(folder.path),
                f"--threads={settings.SURVEY_THREADS}",
                f"--memory-mb={settings.SURVEY_MEMORY_MB}",
                f"--deadline-seconds={deadline_seconds:.1f}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=settings.BASE_DIR,
            env=_environment(folder),
            start_new_session=True,
            pass_fds=[folder.lock],
            preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
        )
        try:
            last = _watch(process, time.monotonic() + deadline_seconds + GRACE_SECONDS, report, stopped)
        finally:
            _end(process)
    _judge(stage, process.returncode, last, _tail(folder, log_from))


def _environment(folder: WorkFolder) -> dict[str, str]:
    """Leave out everything but what a program needs to start: the engine has no use for our keys."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"}
    }
    temporary = folder.path / "tmp"
    temporary.mkdir(exist_ok=True)
    return kept | {"TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}


def _watch(
    process: subprocess.Popen[bytes],
    ends_at: float,
    report: Callable[[float, str], None],
    stopped: Callable[[], bool],
) -> dict[str, Any]:
    """Pass on what the child says until it closes its output. Returns the last thing it said."""
    last: dict[str, Any] = {}
    for message in _messages(process):
        if message is not None:
            last = message
        if "progress" in last:
            report(float(last["progress"]), str(last.get("detail", "")))
        if stopped():
            raise Cancelled
        if time.monotonic() > ends_at:
            raise Permanent("The stage did not end in its time and was stopped; thin the clouds.", code="deadline")
    while process.poll() is None:  # its output is closed, so the end is near
        if stopped():
            raise Cancelled
        if time.monotonic() > ends_at:
            raise Permanent("The stage did not end in its time and was stopped; thin the clouds.", code="deadline")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TICK_SECONDS)
    return last


def _messages(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any] | None]:
    """Yield each JSON line of the child, and None every TICK_SECONDS without one."""
    assert process.stdout is not None
    waiting = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(TICK_SECONDS):
                yield None
                continue
            piece = os.read(process.stdout.fileno(), LONGEST_LINE)
            if not piece:
                return
            *lines, waiting = (waiting + piece).split(b"\n")
            waiting = waiting[-LONGEST_LINE:]
            for line in lines:
                if (message := _read(line)) is not None:
                    yield message


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None  # a library that prints is no reason to fail
    return message if isinstance(message, dict) else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole session: ask, wait, kill. Nothing to do where it has ended by itself."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    _signal(process, signal.SIGKILL)  # whatever is left of the session, also behind a leader that has ended
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _tail(folder: WorkFolder, log_from: int) -> str:
    with folder.log.open("rb") as log:
        log.seek(log_from)
        return log.read()[-LOG_TAIL:].decode(errors="replace")


def _judge(stage: str, code: int, last: dict[str, Any], trace: str) -> None:
    """Turn how the child ended into what the queue shall do. Returns only where the stage is done."""
    told = last.get("error") or {}
    detail = str(told.get("detail") or "")
    match code:
        case Exit.DONE:
            return
        case Exit.REFUSED if told:
            label = told.get("label")
            raise Permanent(f"{label}: {detail}" if label else detail, code=str(told.get("code") or "refused"))
        case Exit.MEMORY:
            raise Permanent(detail or "The stage needs more memory than it may have; thin the clouds.", code="memory")
        case Exit.DEADLINE:
            raise Permanent(detail or "The stage needs more time than it may have; thin the clouds.", code="deadline")
        case _ if code < 0 or code in (Exit.CRASHED, 128 + signal.SIGTERM):
            logger.warning("stage died", extra={"stage": stage, "exit_code": code, "stderr": trace})
            raise RetryLater(detail or f"The stage {stage} died of signal {-code}; it is tried again.", code="crashed")
    logger.error("stage failed unexpectedly", extra={"stage": stage, "exit_code": code, "stderr": trace})
    raise Permanent(
        f"The stage {stage} failed on an error of the program, not of the files; its trace is in the log.",
        code="engine",
    )

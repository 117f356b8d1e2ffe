"""One stage in a child process: started in a session of its own, watched, and never left behind.

The guardian of the child (volcal/engine/__main__.py) stays a while for the next stage; each thread that runs stages has
one at most.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings

from jobs.pipelines import Cancelled, Outage, Permanent, RetryLater
from orchestrator.deathsig import die_with

from .engine.errors import ExitCode
from .engine.process import Engine, Message
from .workfolders import WorkFolder

logger = logging.getLogger(__name__)

GRACE_SECONDS = 8.0  # from TERM to KILL; with the look before it, a cancelled child is gone within ten
LOG_TAIL = 4000  # characters of the child's output that are logged

# A guardian dies with the thread that started it, so no other one may count on it.
_kept = threading.local()


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
    Outage if the disk is full, RetryLater if it died by chance. In every case no process of it is left; its guardian
    stays only if it ended by itself.
    """
    engine = _engine()
    ends_at = time.monotonic() + deadline_seconds + GRACE_SECONDS
    with folder.log.open("ab") as log:
        log_from = log.tell()
        said = engine.run(
            stage, folder.path, log=log.fileno(), held=[folder.lock], deadline_seconds=round(deadline_seconds, 1)
        )
        try:
            last, code = _watch(said, ends_at, report, stopped)
        except BaseException:  # cancelled, late, or a worker on its way out: whatever it is, nothing goes on computing
            engine.end(GRACE_SECONDS)
            raise
    _judge(stage, code, last, _tail(folder, log_from))


def _engine() -> Engine:
    """Return this thread's engine. A fork of this process needs its own: a guardian answers to who started it."""
    if getattr(_kept, "owner", None) != os.getpid():
        _kept.owner = os.getpid()
        _kept.engine = Engine(
            settings.SURVEY_ENGINE,
            threads=settings.SURVEY_THREADS,
            memory_mb=settings.SURVEY_MEMORY_MB,
            cwd=settings.BASE_DIR,
            environment=_environment(),
            preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
        )
    engine: Engine = _kept.engine
    return engine


def _environment() -> dict[str, str]:
    """Leave out everything but what a program needs to start: the engine has no use for our keys."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"}
    }
    return kept | {"PYTHONUNBUFFERED": "1"}


def _watch(
    said: Iterator[Message | None],
    ends_at: float,
    report: Callable[[float, str], None],
    stopped: Callable[[], bool],
) -> tuple[Message, int]:
    """Pass on what the child says. Returns the last thing it said before its end, and its exit code."""
    last: Message = {}
    for message in said:
        if message and "ended" in message:
            return last, int(message["ended"])
        if message is not None:
            last = message
        if "progress" in last:
            report(float(last["progress"]), str(last.get("detail", "")))
        if stopped():
            raise Cancelled
        if time.monotonic() > ends_at:
            raise Permanent("The stage did not end in its time and was stopped; thin the clouds.", code="deadline")
    raise AssertionError("the engine always says how a stage ended")


def _tail(folder: WorkFolder, log_from: int) -> str:
    with folder.log.open("rb") as log:
        log.seek(log_from)
        return log.read()[-LOG_TAIL:].decode(errors="replace")


def _judge(stage: str, code: int, last: dict[str, Any], trace: str) -> None:
    """Turn how the child ended into what the queue shall do. Returns only where the stage is done."""
    told = last.get("error") or {}
    detail = str(told.get("detail") or "")
    match code:
        case ExitCode.DONE:
            return
        case ExitCode.REFUSED if told:
            label = told.get("label")
            raise Permanent(f"{label}: {detail}" if label else detail, code=str(told.get("code") or "refused"))
        case ExitCode.MEMORY:
            raise Permanent(detail or "The stage needs more memory than it may have; thin the clouds.", code="memory")
        case ExitCode.DEADLINE:
            raise Permanent(detail or "The stage needs more time than it may have; thin the clouds.", code="deadline")
        case ExitCode.DISK:
            logger.warning("no room for a stage", extra={"stage": stage, "stderr": trace})
            raise Outage(detail, code="disk_full")
        case _ if code < 0 or code in (ExitCode.CRASHED, ExitCode.TERMINATED):
            logger.warning("stage died", extra={"stage": stage, "exit_code": code, "stderr": trace})
            raise RetryLater(detail or f"The stage {stage} died of signal {-code}; it is tried again.", code="crashed")
    logger.error("stage failed unexpectedly", extra={"stage": stage, "exit_code": code, "stderr": trace})
    raise Permanent(
        f"The stage {stage} failed on an error of the program, not of the files; its trace is in the log.",
        code="engine",
    )

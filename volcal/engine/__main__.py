"""The child process of one stage: python -m volcal.engine STAGE FOLDER.

Prints one JSON object a line on stdout: {"progress": 0..1, "detail": "..."} at most four times a second, and at a bad
end {"error": {"code", "detail", "label"}}. Exit codes: see ExitCode. A guardian process without libraries watches over
the one that computes: native code that holds the interpreter cannot delay SIGTERM or the deadline, and its death by a
signal or for want of memory is told apart from a refusal.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import enum
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

_PR_SET_PDEATHSIG = 1
_SECONDS_BETWEEN_LINES = 0.25


class ExitCode(enum.IntEnum):
    """How a stage ended."""

    DONE = 0
    BUG = 1
    USAGE = 2
    REFUSED = 3
    MEMORY = 4
    DEADLINE = 5
    CRASHED = 6
    TERMINATED = 128 + signal.SIGTERM


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m volcal.engine", description="Run one stage of a survey.")
    parser.add_argument("stage", choices=("load", "align", "compare", "measure", "publish"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2, help="threads of native code (default 2)")
    parser.add_argument("--memory-mb", type=int, default=None, help="most data memory; more ends with exit code 4")
    parser.add_argument("--deadline-seconds", type=float, default=None, help="most time; more ends with exit code 5")
    chosen = parser.parse_args(arguments)
    folder: Path = chosen.folder.resolve()
    if not folder.is_dir():
        parser.error(f"{folder} is not a folder")

    # Libraries read these once, when they are loaded.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(chosen.threads))
    # One for BLAS: all its matrices here are tiny, and its threads made them wait for each other (measured: 30 x).
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # Threads that wait shall sleep: spinning took a fifth of the time on a machine that others use too.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    shutil.rmtree(folder / "temp", ignore_errors=True)  # of one that was killed before it could clean up
    guardian = os.getpid()
    child = os.fork()
    if child == 0:
        os._exit(_compute(chosen.stage, folder, chosen.memory_mb, guardian))
    code = _watch(child, chosen.deadline_seconds)
    shutil.rmtree(folder / "temp", ignore_errors=True)
    return code


def _watch(child: int, deadline_seconds: float | None) -> int:
    """Wait for the computing process; end it at SIGTERM, SIGINT or the deadline."""
    ended_by: list[ExitCode] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ended_by.append(ExitCode.DEADLINE if number == signal.SIGALRM else ExitCode.TERMINATED)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, end)
    if deadline_seconds is not None:
        signal.setitimer(signal.ITIMER_REAL, max(deadline_seconds, 0.001))
    status = os.waitpid(child, 0)[1]
    signal.setitimer(signal.ITIMER_REAL, 0)
    if ended_by:
        texts = {
            ExitCode.DEADLINE: (
                "deadline",
                f"Not done after {deadline_seconds} s; thin the clouds or allow more.",
            ),
            ExitCode.TERMINATED: ("terminated", "Stopped from outside."),
        }
        _say_error(*texts[ended_by[0]])
        return ended_by[0]
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        _say_error("crashed", f"The computation died of {name}; if that repeats, thin the clouds.")
        return ExitCode.CRASHED
    return os.WEXITSTATUS(status)


def _compute(stage: str, folder: Path, memory_mb: int | None, guardian: int) -> int:
    """Run the stage in this process and say how it ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guardian:  # it died before the line above
        return ExitCode.TERMINATED
    # The guardian decides; a Ctrl-C reaches the whole process group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory_mb is not None:
        # DATA rather than AS: thread stacks and mapped files reserve addresses that cost no memory.
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20,) * 2)
    from .errors import InvalidParameter, Refused

    # laspy loads a client for the web to read clouds from there (0.1 s); it does without one if there is none.
    sys.modules["requests"] = None  # type: ignore[assignment]
    try:
        from .parameters import Parameters
        from .stages import run

        place = folder / "parameters.json"
        document: dict[str, Any] = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
        run(stage, folder, Parameters.from_json(document), _Progress())
    except Refused as refusal:
        _say({"error": refusal.as_json()})
        return ExitCode.REFUSED
    except InvalidParameter as wrong:
        _say_error("invalid_parameter", str(wrong))
        return ExitCode.REFUSED
    except MemoryError:
        _say_error("memory", f"{memory_mb or 'All'} MB of memory are not enough; thin the clouds or allow more.")
        return ExitCode.MEMORY
    except BaseException:  # this is the edge: whatever else it was, SystemExit too, is a bug with a trace
        traceback.print_exc()
        _say_error("bug", "The engine failed; its trace is in the log.")
        return ExitCode.BUG
    return ExitCode.DONE


class _Progress:
    """Print progress, but not more often than a reader can follow."""

    def __init__(self) -> None:
        self._next_at = 0.0

    def __call__(self, share: float, detail: str) -> None:
        now = time.monotonic()
        if now >= self._next_at or share >= 1:
            self._next_at = now + _SECONDS_BETWEEN_LINES
            _say({"progress": round(min(max(share, 0.0), 1.0), 3), "detail": detail})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _say_error(code: str, detail: str) -> None:
    _say({"error": {"code": code, "detail": detail, "label": None}})


if __name__ == "__main__":
    sys.exit(main())

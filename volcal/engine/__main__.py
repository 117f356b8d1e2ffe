"""The guardian of the stages: python -m volcal.engine --channel=FD [--threads=N] [--memory-mb=M] [--idle-seconds=S].

FD is one end of a SOCK_SEQPACKET pair; process.py holds the other one. A request is one packet {"stage", "folder",
"deadline_seconds"} and comes with open files: the log, then what shall stay open as long as the stage may live (the
folder's lock). Answers are one packet each: {"progress": 0..1, "detail": "..."} at most four times a second, at a bad
end {"error": {"code", "detail", "label"}}, and always {"ended": exit code, "cpu_seconds", "peak_mb", "stays"}; see
ExitCode.

The guardian forks a process for each stage: native code that holds the interpreter cannot delay SIGTERM or the
deadline, a death by a signal or for want of memory is told apart from a refusal, and nothing of one survey is left for
the next. The first stage begins without any library; while it computes, the guardian loads those of all stages, and
every later fork has them from the start. A stage whose guardian cannot stay is followed by a new guardian.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import gc
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from . import stages
from .errors import ExitCode, InvalidParameter, Refused
from .parameters import Parameters

# As orchestrator/deathsig.py, which belongs to the desk; the engine stands without it.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)
_SECONDS_BETWEEN_WORDS = 0.25
_LONGEST_REQUEST = 64 * 1024
_MOST_FILES = 8
_LEAST_FREE_BYTES = 16 * 2**20
_LONGEST_DETAIL = 4000  # characters; the name of a reference system may be as long as its file

LIBRARIES = tuple(f"{__package__}.{stage}" for stage in stages.STAGES)
Report = Callable[[float, str], None]
Run = Callable[[str, Path, Parameters, Report], None]


def main(
    arguments: list[str] | None = None,
    *,
    run: Run = stages.run,
    libraries: Sequence[str] = LIBRARIES,
) -> int:
    """Serve until the channel is closed, SIGTERM comes or nobody asks any more.

    run, libraries: what does a stage, and the modules to load for it; an engine for tests brings its own.
    """
    parser = argparse.ArgumentParser(prog="python -m volcal.engine", description="Run stages of surveys.")
    parser.add_argument("--channel", type=int, required=True, help="descriptor of the socket that requests come by")
    parser.add_argument("--threads", type=int, default=2, help="threads of native code (default 2)")
    parser.add_argument("--memory-mb", type=int, default=None, help="most data memory of a stage; more ends it with 4")
    parser.add_argument("--idle-seconds", type=float, default=60, help="ends after so long without a request")
    chosen = parser.parse_args(arguments)

    # Libraries read these once, when they are loaded.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(chosen.threads))
    # One for BLAS: all its matrices here are tiny, and its threads made them wait for each other (measured: 30 x).
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # Threads that wait shall sleep: spinning took a fifth of the time on a machine that others use too.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    # laspy loads a client for the web to read clouds from there (0.1 s); it does without one if there is none.
    sys.modules["requests"] = None  # type: ignore[assignment]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an idle guardian has nothing to tidy up
    # What a stage starts and leaves behind becomes a child of the guardian, which then knows of it.
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with socket.socket(fileno=chosen.channel) as channel:
        channel.set_inheritable(False)
        try:
            return _Guardian(channel, chosen.memory_mb, run, list(libraries)).serve(chosen.idle_seconds)
        except ConnectionError:  # who asked is gone
            return ExitCode.DONE


class _Guardian:
    """Answers requests, one after the other."""

    def __init__(self, channel: socket.socket, memory_mb: int | None, run: Run, libraries: list[str]) -> None:
        self._channel = channel
        self._memory_mb = memory_mb
        self._run = run
        self._to_load = libraries
        self._stays = True
        self._cpu_seconds = 0.0  # of this process, as far as they are told

    def serve(self, idle_seconds: float) -> int:
        code: int = ExitCode.DONE
        requests = select.poll()
        requests.register(self._channel, select.POLLIN)
        while self._stays and requests.poll(1000 * idle_seconds):
            packet, files, _, _ = socket.recv_fds(self._channel, _LONGEST_REQUEST, _MOST_FILES)
            if not packet:
                break
            request = json.loads(packet)
            code = self._guard(request["stage"], Path(request["folder"]), request["deadline_seconds"], files)
        return code if code == ExitCode.TERMINATED else ExitCode.DONE

    def _guard(self, stage: str, folder: Path, deadline_seconds: float | None, files: list[int]) -> int:
        """Have the stage computed and say how it ended. By then the files are closed here and in the fork."""
        shutil.rmtree(folder / "temp", ignore_errors=True)  # of one that was killed before it could clean up
        guardian = os.getpid()
        gc.freeze()  # a collection in the fork would touch, and so copy, every page of the libraries
        child = os.fork()
        if child == 0:
            code: int = ExitCode.BUG
            try:
                code = self._compute(stage, folder, files[0], guardian)
            finally:
                os._exit(code)  # whatever happened: the guardian's own code must not go on in here
        code, usage = self._watch(child, deadline_seconds)
        shutil.rmtree(folder / "temp", ignore_errors=True)
        for file in files:
            os.close(file)
        self._stays = self._stays and code != ExitCode.TERMINATED and not _has_children()
        cpu_before, self._cpu_seconds = self._cpu_seconds, time.process_time()
        cpu_seconds = usage.ru_utime + usage.ru_stime + self._cpu_seconds - cpu_before
        self._say(
            {
                "ended": code,
                "cpu_seconds": round(cpu_seconds, 3),
                "peak_mb": round(usage.ru_maxrss / 1024, 1),
                "stays": self._stays,
            }
        )
        return code

    def _watch(self, child: int, deadline_seconds: float | None) -> tuple[int, resource.struct_rusage]:
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
        pid = 0
        while self._to_load and not pid and not ended_by:
            self._load_next()
            pid, status, usage = os.wait4(child, os.WNOHANG)
        if not pid:
            _, status, usage = os.wait4(child, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        if ended_by:
            texts = {
                ExitCode.DEADLINE: (
                    "deadline",
                    f"Not done after {deadline_seconds} s; thin the clouds or allow more.",
                ),
                ExitCode.TERMINATED: ("terminated", "Stopped from outside."),
            }
            self._say_error(*texts[ended_by[0]])
            return ended_by[0], usage
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            self._say_error("crashed", f"The computation died of {name}; if that repeats, thin the clouds.")
            return ExitCode.CRASHED, usage
        return os.WEXITSTATUS(status), usage

    def _load_next(self) -> None:
        """Load one more library for the stages to come; a guardian that could not do it well does not stay for them."""
        try:
            import_module(self._to_load.pop(0))
        except Exception:  # the stage that needs it says what is wrong
            self._stays = False
        # A thread would not live on in a fork, but the locks that it holds would.
        if len(list(Path("/proc/self/task").iterdir())) > 1:
            self._stays = False
        if not self._stays:
            self._to_load.clear()

    def _compute(self, stage: str, folder: Path, log: int, guardian: int) -> int:
        """Run the stage in this process and say how it ended."""
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guardian:  # it died before the line above
            return ExitCode.TERMINATED
        # The guardian decides; a Ctrl-C reaches the whole process group.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for stream in (1, 2):
            os.dup2(log, stream)
        if self._memory_mb is not None:
            # DATA rather than AS: thread stacks and mapped files reserve addresses that cost no memory.
            resource.setrlimit(resource.RLIMIT_DATA, (self._memory_mb * 2**20,) * 2)
        try:
            temporary = folder / "tmp"
            temporary.mkdir(exist_ok=True)
            os.environ["TMPDIR"] = str(temporary)
            place = folder / "parameters.json"
            document: dict[str, Any] = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
            self._run(stage, folder, Parameters.from_json(document), _Progress(self._say))
        except Refused as refusal:
            self._say_error(refusal.code, refusal.detail, refusal.label)
            return ExitCode.REFUSED
        except InvalidParameter as wrong:
            self._say_error("invalid_parameter", str(wrong))
            return ExitCode.REFUSED
        except MemoryError:
            allowed = f"{self._memory_mb or 'All'} MB"
            self._say_error("memory", f"{allowed} of memory are not enough; thin the clouds or allow more.")
            return ExitCode.MEMORY
        except BaseException as error:  # this is the edge: whatever else it was, SystemExit too, is a bug with a trace
            traceback.print_exc()
            if _is_full(folder, error):
                self._say_error("disk_full", "The disk has no room for this stage; free some.")
                return ExitCode.DISK
            self._say_error("bug", "The engine failed; its trace is in the log.")
            return ExitCode.BUG
        return ExitCode.DONE

    def _say(self, message: dict[str, Any]) -> None:
        self._channel.send(json.dumps(message).encode())

    def _say_error(self, code: str, detail: str, label: str | None = None) -> None:
        self._say({"error": {"code": code, "detail": detail[:_LONGEST_DETAIL], "label": label}})


class _Progress:
    """Say how far a stage is, but not more often than a reader can follow."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        self._say = say
        self._next_at = 0.0

    def __call__(self, share: float, detail: str) -> None:
        now = time.monotonic()
        if now >= self._next_at or share >= 1:
            self._next_at = now + _SECONDS_BETWEEN_WORDS
            self._say({"progress": round(min(max(share, 0.0), 1.0), 3), "detail": detail})


def _is_full(folder: Path, error: BaseException) -> bool:
    """Say whether a stage ended for want of room. Libraries write in C and seldom hand on the number of the error."""
    is_said = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    return is_said or shutil.disk_usage(folder).free < _LEAST_FREE_BYTES


def _has_children() -> bool:
    """Say whether the stage left a process that is still alive."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())

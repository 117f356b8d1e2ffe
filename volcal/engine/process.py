"""The engine from outside: one guardian process that runs stage after stage (__main__.py), and what it says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from .errors import ExitCode

TICK_SECONDS = 0.2  # how often somebody who waits for a word gets the chance to look for something else
GRACE_SECONDS = 8.0  # from TERM to KILL
_LONGEST_MESSAGE = 256 * 1024

Message = dict[str, Any]


class Engine:
    """Stages of surveys, computed by the children of one guardian process.

    The guardian starts with the first stage and stays for the next one, because it has the libraries loaded by then.
    Without one for idle_seconds, and when its starter is gone, it ends by itself. One thread at a time may use it.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        threads: int = 2,
        memory_mb: int | None = None,
        idle_seconds: float = 60.0,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        preexec_fn: Callable[[], None] | None = None,
    ) -> None:
        """command: what starts a guardian, without its options.

        memory_mb: most data memory of a stage. environment: of the guardian; None means ours.
        preexec_fn: called in the guardian before its program, as subprocess does; it may bind it to our life.
        """
        limit = [] if memory_mb is None else [f"--memory-mb={memory_mb}"]
        self._command = [*command, f"--threads={threads}", f"--idle-seconds={idle_seconds}", *limit]
        self._how: dict[str, Any] = {"cwd": cwd, "env": environment, "preexec_fn": preexec_fn}
        self._reuse_seconds = 0.75 * idle_seconds  # one that is about to end is not asked any more
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._idle_since: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def pid(self) -> int | None:
        """The guardian's process id, which is that of its session; None without one."""
        return self._process.pid if self._process else None

    def run(
        self,
        stage: str,
        folder: Path,
        *,
        log: int,
        held: Sequence[int] = (),
        deadline_seconds: float | None = None,
    ) -> Iterator[Message | None]:
        """Have a stage computed, and yield what is said meanwhile; None every TICK_SECONDS without a word.

        log: descriptor that the stage's output goes to. held: descriptors that stay open as long as it may live.
        The last message is {"ended": exit code, "cpu_seconds", "peak_mb"}, or only the code if the guardian died; that
        of a signal is negative. Call end() rather than leave before.
        """
        is_kept = self._idle_since is not None and time.monotonic() - self._idle_since < self._reuse_seconds
        if not is_kept:
            self.end()
            self._start()
        self._idle_since = None
        request = {"stage": stage, "folder": str(folder), "deadline_seconds": deadline_seconds}
        was_heard = False
        for message in self._ask(json.dumps(request).encode(), [log, *held]):
            was_heard = was_heard or message is not None
            if message and "ended" in message:
                if message["stays"]:
                    self._idle_since = time.monotonic()
                else:
                    self.end()
                yield message
                return
            yield message
        code = self._bury()
        if is_kept and not was_heard:  # it had died before it was asked
            yield from self.run(stage, folder, log=log, held=held, deadline_seconds=deadline_seconds)
        else:
            yield {"ended": code or ExitCode.CRASHED}  # a stage is done only where the guardian says so

    def end(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End the guardian's whole session: ask, wait, kill. Nothing to do where there is none."""
        if self._process is None or self._channel is None:
            return
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_seconds)
        self._signal(signal.SIGKILL)  # whatever is left of the session, also behind a leader that has ended
        self._process.wait()
        # Killed at one go, the computing process may outlive the guardian for a moment. It has the channel too, and
        # what it holds shall be free.
        self._channel.settimeout(GRACE_SECONDS)
        with self._channel, contextlib.suppress(ConnectionError, TimeoutError):
            while self._channel.recv(_LONGEST_MESSAGE):
                pass
        self._process = self._channel = self._idle_since = None

    def _start(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(TICK_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                [*self._command, f"--channel={theirs.fileno()}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
                **self._how,
            )

    def _ask(self, packet: bytes, files: list[int]) -> Iterator[Message | None]:
        """Yield what the guardian says, until it has closed its end of the channel."""
        assert self._channel is not None
        with contextlib.suppress(ConnectionError):
            socket.send_fds(self._channel, [packet], files)
            while True:
                try:
                    said = self._channel.recv(_LONGEST_MESSAGE)
                except TimeoutError:
                    yield None
                    continue
                if not said:
                    return
                yield json.loads(said)

    def _bury(self) -> int:
        """Wait for the end of a guardian that has closed its channel. Returns its exit code."""
        assert self._process is not None
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        self.end()
        return process.returncode

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

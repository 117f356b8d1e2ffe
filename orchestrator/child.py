"""One long-running process of the desk, and the session of everything that it starts."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.deathsig import die_with

_LONGEST_PAUSE_SECONDS = 30.0
# A process that lived so long was well; its next death starts the pauses anew.
_WELL_SECONDS = 60.0
_LARGEST_LOG_BYTES = 10_000_000


class Child:
    """A process that has to be there: leads its own session, dies with us, and is started again after a pause.

    log_path: file that its output is added to; the terminal's when None.
    first_pause_seconds: before it is started again after a quick death; doubles with each quick death that follows.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log_path: Path | None,
        first_pause_seconds: float,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self.starts_at = 0.0  # monotonic; meaningful while it is not alive
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._first_pause_seconds = first_pause_seconds
        self._n_quick_deaths = 0
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_started(self) -> bool:
        return self._process is not None

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._started_at

    @property
    def last_words(self) -> str:
        """Return the end of its log."""
        if self.log_path is None or not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])

    def start(self) -> None:
        log = self._open_log() if self.log_path else None
        try:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own session: the terminal's Ctrl-C reaches us alone, and all that it starts can be found.
                start_new_session=True,
                preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
            )
        finally:
            if log is not None:
                os.close(log)
        self._started_at = time.monotonic()

    def poll(self) -> int | None:
        """Return the exit code of a process that has ended, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End at once what is left of its session, and plan the next start."""
        if self._process is None:
            return
        self._n_quick_deaths = 0 if self.age_seconds > _WELL_SECONDS else self._n_quick_deaths + 1
        while members := session_members(self._process.pid):
            for pid in members:
                _kill(pid)
            time.sleep(0.01)
        self._process.wait()
        self._process = None
        pause = self._first_pause_seconds * 2 ** (self._n_quick_deaths - 1) if self._n_quick_deaths else 0.0
        self.starts_at = time.monotonic() + min(pause, _LONGEST_PAUSE_SECONDS)

    def _open_log(self) -> int:
        assert self.log_path is not None
        if self.log_path.exists() and self.log_path.stat().st_size > _LARGEST_LOG_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        return os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def session_members(session: int) -> list[int]:
    """List the living processes of a session; one that has ended and waits for its parent does not count."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name in brackets may itself hold brackets and spaces; the fields after it do not.
            state, _parent, _group, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state not in {"Z", "X"}:
            members.append(int(entry.name))
    return members


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return

"""A real desk for the fault tests: `manage.py up` in a folder of its own, and its processes by role."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import psycopg

from orchestrator.deathsig import die_with

PROJECT = Path(__file__).resolve().parents[2]
# What the test run itself was given must not reach the desk under test.
_HIDDEN = {"DATABASE_URL", "DATABASE_DIRECT_URL", "SECRET_KEY", "DJANGO_SETTINGS_MODULE", "PORT", "HOST", "DRAIN_FILE"}


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def temporary_folder(mode: int = 0o755) -> Iterator[Path]:
    """Lend a folder outside pytest's own, which are closed to every other user."""
    folder = Path(tempfile.mkdtemp(prefix="desk-fault-"))
    folder.chmod(mode)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Desk:
    """One supervisor with everything that it starts.

    variables: settings of this desk, for instance CANARY_STALE_SECONDS="6".
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.var_dir = folder / "var"
        self.port = free_port()
        self.tus_port = free_port()
        self.output = ""
        self.variables = {"VAR_DIR": str(self.var_dir), "ENV_FILE": os.devnull, "RESTART_SECONDS": "0.2", **variables}
        self._supervisor: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def supervisor(self) -> subprocess.Popen[str]:
        assert self._supervisor is not None
        return self._supervisor

    def launch(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `manage.py up` without waiting."""
        self._supervisor = subprocess.Popen(
            [sys.executable, "manage.py", "up", *arguments],
            cwd=PROJECT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=die_with(os.getpid(), by=signal.SIGTERM),  # a test run that is broken off leaves no desk
        )
        return self._supervisor

    def prepare(self) -> str:
        """Run `manage.py prepare` on a database of DATABASE_URL and return what it printed."""
        return subprocess.run(
            [sys.executable, "manage.py", "prepare"],
            cwd=PROJECT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    def environment(self) -> dict[str, str]:
        """What its processes are given, and nothing of the test run's own."""
        ours = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
        return {**ours, **self.variables, "PORT": str(self.port), "TUS_PORT": str(self.tus_port)}

    @classmethod
    @contextmanager
    def open(cls, **variables: str) -> Iterator[Self]:
        """Lend a running desk in a folder of its own."""
        with temporary_folder() as folder:
            desk = cls(folder, **variables)
            try:
                desk.start()
                yield desk
            finally:
                desk.end()

    def start(self) -> None:
        """Start it and wait until it says that it is open."""
        supervisor = self.launch()
        assert supervisor.stdout is not None
        self.output = ""
        while "Ctrl-C" not in self.output:
            line = supervisor.stdout.readline()
            assert line, f"the desk ended before it was open:\n{self.output}"
            self.output += line

    def stop(self, by: signal.Signals = signal.SIGINT) -> int:
        """Ask it to stop, wait for its end, return its exit code."""
        self.supervisor.send_signal(by)
        rest, _ = self.supervisor.communicate(timeout=60)
        self.output += rest
        return self.supervisor.returncode

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self._supervisor is not None and self._supervisor.poll() is None:
            self.stop()
        for process in self.processes():
            process.kill()
        if self._supervisor is not None and self._supervisor.stdout is not None:
            self._supervisor.stdout.close()

    def processes(self) -> list[psutil.Process]:
        """Find every living process of this desk, adopted or lost ones too: by its VAR_DIR or its data folder."""
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get("VAR_DIR") == str(self.var_dir)
                is_database = process.cwd() == str(self.var_dir / "postgres" / "data")
                if (is_ours or is_database) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def roles(self) -> dict[str, list[psutil.Process]]:
        """Name the processes: web, tus, postgres, and of each cluster main, sentinel, workers, monitor and pusher."""
        roles: dict[str, list[psutil.Process]] = {}
        for child in psutil.Process(self.supervisor.pid).children():
            try:
                roles |= self._roles_of(child)
            except psutil.Error:  # it ended while we looked
                continue
        return roles

    def _roles_of(self, child: psutil.Process) -> dict[str, list[psutil.Process]]:
        command = " ".join(child.cmdline())
        if "daphne" in command:
            return {"web": [child]}
        if "uvicorn" in command:
            return {"tus": [child]}
        if "postgres" in command:
            return {"postgres": [child]}
        cluster = re.search(r"qcluster -n (\w+)", command)
        if cluster is None:
            return {}
        sentinels = child.children()
        # Django-Q starts the workers first, then the monitor and the pusher.
        members = sorted(sentinels[0].children(), key=lambda process: process.pid) if sentinels else []
        return {f"{cluster[1]} main": [child], f"{cluster[1]} sentinel": sentinels, f"{cluster[1]} members": members}

    def pid_of(self, role: str) -> int | None:
        """Return the process id of the first process in a role, None while there is none."""
        members = self.roles().get(role)
        return members[0].pid if members else None

    def shape(self) -> Counter[str]:
        """Count the living processes of each role; empty while they come and go."""
        try:
            return Counter(
                role
                for role, members in self.roles().items()
                for member in members
                if member.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return Counter()

    def is_whole(self) -> bool:
        """Tell whether every cluster has its sentinel, monitor, pusher and at least one worker."""
        shape = self.shape()
        return (
            shape["web"] == shape["tus"] == shape["postgres"] == 1
            and all(shape[f"{cluster} sentinel"] == 1 for cluster in ("default", "vision", "heavy"))
            and all(shape[f"{cluster} members"] >= 3 for cluster in ("default", "vision", "heavy"))
        )

    def connect(self) -> psycopg.Connection:
        url = (self.var_dir / "run" / "database-url").read_text()
        return psycopg.connect(url, autocommit=True)

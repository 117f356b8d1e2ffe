"""Servers of tus to test: ours, and two by others that tell whether the tests read the protocol rightly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.deathsig import die_with
from tests.workbench import node
from tests.workbench.tus import Service, database, free_port

SERVERS = ("ours", "@tus/server", "resumable-upload")


@dataclass
class Server:
    name: str
    port: int
    service: Service | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/files"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Our upload service in a process of its own."""
    with database() as url, Service(url, tmp_path_factory.mktemp("tus") / "var") as service:
        yield service


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    name: str = request.param
    if name == "ours":
        service = request.getfixturevalue("service")
        yield Server(name, service.port, service)
        return
    folder, port = tmp_path_factory.mktemp("peer"), free_port()
    if name == "@tus/server":
        if not node.is_ready():
            pytest.skip(node.MISSING)
        command = [node.PROGRAM, "server.js", str(port), str(folder)]
    else:
        program = Path(sys.executable).with_name("resumable-upload")
        command = [sys.executable, str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--upload-dir", str(folder / "files"), "--db-path", str(folder / "uploads.db")]
        command += ["--max-size", str(2**30)]
    process = subprocess.Popen(
        command,
        cwd=node.FOLDER,
        env=os.environ | {"NODE_ENV": "production"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, f"{name} ended at once"
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield Server(name, port)
    finally:
        process.kill()
        process.wait()

"""Sixteen large uploads at once, here and at the tus project's own server, on the same disk in the same minute."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from orchestrator.deathsig import die_with
from tests.workbench import node
from tests.workbench.tus import Service, Wire, database, free_port

N_UPLOADS = 16
PEER = Path(__file__).resolve().parents[1] / "node"
N_ROUNDS = 2
MOST_MEMORY_BYTES = 150_000_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PEER / "node_modules").exists(), reason="run `npm ci` in tests/node"),
]


def upload_bytes() -> int:
    """256 MiB each; less where the disk has not four times the room."""
    free = shutil.disk_usage(os.environ["VAR_DIR"]).free
    return min(256 * 2**20, free // (4 * N_UPLOADS) // 2**20 * 2**20)


@contextmanager
def peer(folder: Path) -> Iterator[tuple[int, int]]:
    folder.mkdir()
    port = free_port()
    process = subprocess.Popen(
        [node.PROGRAM, "server.js", str(port), str(folder)],
        cwd=PEER,
        env=os.environ | {"NODE_ENV": "production"},
        preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
    )
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None
            time.sleep(0.05)
    try:
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


class Load:
    """All uploads of one round: seconds until the last was acknowledged, until the disk has all, and peak memory."""

    def __init__(self, port: int, pid: int, n_bytes: int) -> None:
        self.rss_bytes = 0
        self._port, self._process, self._n_bytes = port, psutil.Process(pid), n_bytes
        self._block = os.urandom(2**20)
        self._addresses = [self._create() for _ in range(N_UPLOADS)]
        os.sync()
        self._is_over = threading.Event()
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        started = time.perf_counter()
        senders = [threading.Thread(target=self._send, args=(path,)) for path in self._addresses]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        self.acknowledged_seconds = time.perf_counter() - started
        os.sync()
        self.on_disk_seconds = time.perf_counter() - started
        self._is_over.set()
        watcher.join()
        for path in self._addresses:
            self._request("DELETE", path, {})

    def _create(self) -> str:
        answer = self._request("POST", "/files", {"Upload-Length": str(self._n_bytes)})
        assert answer.status == 201
        return "/files/" + answer.headers["location"].rsplit("/", 1)[1]

    def _request(self, method: str, path: str, headers: dict[str, str]):
        wire = Wire(self._port)
        wire.begin(method, path, headers, length=0)
        answer = wire.answer()
        wire.cut()
        return answer

    def _send(self, path: str) -> None:
        wire = Wire(self._port)
        wire.socket.settimeout(300)
        headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        wire.begin("PATCH", path, headers, length=self._n_bytes)
        for _ in range(self._n_bytes // len(self._block)):
            wire.send(self._block)
        answer = wire.answer()
        assert (answer.status, answer.offset) == (204, self._n_bytes)
        wire.cut()

    def _watch(self) -> None:
        while not self._is_over.wait(0.05):
            self.rss_bytes = max(self.rss_bytes, self._process.memory_info().rss)


def test_sixteen_parallel_uploads(tmp_path):
    n_bytes = upload_bytes()
    found: dict[str, list[Load]] = {"ours": [], "@tus/server": []}
    with database() as url, Service(url, tmp_path / "var") as service, peer(tmp_path / "peer") as (port, pid):
        for _ in range(N_ROUNDS):
            found["ours"].append(Load(service.port, service.process.pid, n_bytes))
            found["@tus/server"].append(Load(port, pid, n_bytes))

    print(f"\n{N_UPLOADS} parallel uploads of {n_bytes / 2**20:.0f} MiB, {N_ROUNDS} rounds in turn")
    for name, loads in found.items():
        for load in loads:
            print(
                f"{name:12} acknowledged {load.acknowledged_seconds:6.2f} s, on disk {load.on_disk_seconds:6.2f} s, "
                f"peak RSS {load.rss_bytes / 1e6:4.0f} MB"
            )
    for what in ("acknowledged_seconds", "on_disk_seconds"):
        ours, theirs = (statistics.median(getattr(load, what) for load in loads) for loads in found.values())
        print(f"{what}: {ours:.2f} against {theirs:.2f} s, ratio {ours / theirs:.2f}")
    assert max(load.rss_bytes for load in found["ours"]) <= MOST_MEMORY_BYTES

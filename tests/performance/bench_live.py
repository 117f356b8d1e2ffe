"""How soon a hundred viewers see what happens to a running job, and what that costs the web process.

Run by `make bench`. A change is the commit of its transaction; it is seen when its message is in the viewer's hands,
taken off a real socket of a real web process. Viewers and server share the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest
from websockets.asyncio.client import connect

from orchestrator.postgres import Postgres
from tests.faults.desk import PROJECT, free_port, temporary_folder

N_VIEWERS = 100
SECONDS = 20
COMMITS_A_SECOND = 40  # as four lanes make that take 100 ms an item


@dataclass
class Yard:
    """A durable PostgreSQL with our tables, and a web process on it."""

    database_url: str
    port: int
    web: psutil.Process


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with temporary_folder() as folder:
        server = Postgres(folder / "postgres")
        server.start()
        (folder / "var").mkdir()
        port = free_port()
        environment = {
            **os.environ,
            "DATABASE_URL": server.url,
            "DATABASE_DIRECT_URL": "",
            "VAR_DIR": str(folder / "var"),
            "API_ACCESS": "open",
            "DJANGO_SETTINGS_MODULE": "orchestrator.settings",
            "LOG_LEVEL": "ERROR",
        }
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=PROJECT, env=environment, check=True
        )
        daphne = str(Path(sys.executable).with_name("daphne"))
        address = ["-b", "127.0.0.1", "-p", str(port), "-v", "0"]
        web = subprocess.Popen(
            [sys.executable, daphne, *address, "orchestrator.asgi:application"],
            cwd=PROJECT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while web.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield Yard(server.url, port, psutil.Process(web.pid))
        finally:
            web.terminate()
            web.wait()
            server.stop()


@dataclass
class Seen:
    """What one viewer saw: item id to the time it was in hand, and how many messages that took."""

    items: dict[int, float] = field(default_factory=dict)
    sequences: list[int] = field(default_factory=list)


def make_job(connection: psycopg.Connection, n_items: int) -> tuple[int, str, list[int]]:
    """Make a running job by hand: this measures the way of an event, not of the work."""
    pk, job_id = connection.execute(
        "INSERT INTO jobs_job (type, pipeline, queue_id, status, total_images, started_at)"
        " VALUES ('BENCH', 'none', 'default', 'running', %s, now()) RETURNING id, job_id",
        [n_items],
    ).fetchone()
    rows = connection.execute(
        "INSERT INTO jobs_jobitem (job_id, seq, image_path, perspective)"
        " SELECT %s, n, n || '.jpg', 'plain' FROM generate_series(1, %s) n RETURNING id",
        [pk, n_items],
    ).fetchall()
    return pk, str(job_id), [row[0] for row in rows]


async def watch(port: int, job_id: str, seen: Seen, ready: asyncio.Semaphore, n_items: int) -> None:
    address = f"ws://127.0.0.1:{port}/api/ws/jobs/{job_id}"
    async with connect(address, proxy=None, max_size=None, open_timeout=60) as viewing:
        async for text in viewing:
            now = time.monotonic()
            message = json.loads(text)
            if message["type"] == "SNAPSHOT":
                ready.release()
            elif "messageId" in message:
                seen.sequences.append(message["sequence"])
                for item in message["data"].get("items", ()):
                    seen.items[item["itemId"]] = now
            if len(seen.items) == n_items:
                return


async def write(database_url: str, pk: int, ids: list[int]) -> dict[int, float]:
    """Close one item a commit, evenly, as workers do; return when each commit had returned."""
    committed = {}
    connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True)
    async with connection:
        began = time.monotonic()
        for n, item_id in enumerate(ids):
            await asyncio.sleep(max(0.0, began + n / COMMITS_A_SECOND - time.monotonic()))
            await connection.execute(
                "INSERT INTO jobs_jobevent (job_id, type, data) VALUES (%s, 'JOB_ITEM_COMPLETED', %s::jsonb)",
                [pk, json.dumps({"items": [[item_id, n, 100, None]]})],
            )
            committed[item_id] = time.monotonic()
    return committed


async def measure(yard: Yard) -> tuple[list[float], list[Seen], float]:
    n_items = SECONDS * COMMITS_A_SECOND
    with psycopg.connect(yard.database_url, autocommit=True) as connection:
        pk, job_id, ids = make_job(connection, n_items)
    seen = [Seen() for _ in range(N_VIEWERS)]
    ready = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as tasks:
        for viewer in seen:
            tasks.create_task(watch(yard.port, job_id, viewer, ready, n_items))
        for _ in seen:
            await ready.acquire()
        cpu_before = sum(yard.web.cpu_times()[:2])
        committed = await write(yard.database_url, pk, ids)
    cpu_seconds = sum(yard.web.cpu_times()[:2]) - cpu_before
    latencies = [(viewer.items[item] - committed[item]) * 1000 for viewer in seen for item in ids]
    return latencies, seen, cpu_seconds


def test_how_soon_a_hundred_viewers_see_a_change(yard: Yard, capsys: pytest.CaptureFixture[str]):
    latencies, seen, cpu_seconds = asyncio.run(measure(yard))

    p50, p95, p99 = (statistics.quantiles(latencies, n=100)[n - 1] for n in (50, 95, 99))
    n_messages = max(len(viewer.sequences) for viewer in seen)
    with capsys.disabled():
        print(
            f"\n{N_VIEWERS} viewers, {COMMITS_A_SECOND} commits a second for {SECONDS} s:"
            f" commit to viewer p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms;"
            f" {n_messages / SECONDS:.1f} messages a second to each,"
            f" {cpu_seconds / SECONDS * 100:.0f} % of one core in the web process"
        )
    assert all(viewer.sequences == list(range(1, len(viewer.sequences) + 1)) for viewer in seen)
    # Items and progress: two messages a publication.
    assert n_messages / SECONDS <= 2 * 4 + 1

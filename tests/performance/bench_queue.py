"""What the queue itself costs, beside procrastinate and stock Django-Q2 in the same minute on the same PostgreSQL.

Run by `make bench`. Rates drift with the machine's neighbours; the ratios, taken round by round, are the figures.
All stores are durable (fsync and synchronous_commit on); items do nothing.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from orchestrator.postgres import Postgres
from tests.faults.desk import PROJECT, temporary_folder
from tests.workbench.waiting import wait_until

ROUNDS = 3
PROCRASTINATE_APP = "tests.performance.procrastinate_app.app"


class Yard:
    """A durable PostgreSQL with our tables and procrastinate's, and the means to start workers on it."""

    def __init__(self, folder: Path) -> None:
        self.server = Postgres(folder / "postgres", settings={"shared_buffers": "512MB"})
        self.server.start()
        self.environment = {
            **os.environ,
            "DATABASE_URL": self.server.url,
            "DATABASE_DIRECT_URL": "",
            "VAR_DIR": str(folder / "var"),
            "DJANGO_SETTINGS_MODULE": "tests.performance.settings",
            "LOG_LEVEL": "ERROR",
            "PYTHONPATH": str(PROJECT),
        }
        (folder / "var").mkdir()
        self.run("manage.py", "migrate", "--verbosity", "0")
        self.run("-m", "procrastinate", "--app", PROCRASTINATE_APP, "schema", "--apply")

    def run(self, *arguments: str, text: str = "") -> str:
        ran = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=self.environment,
            input=text,
            text=True,
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    @contextmanager
    def workers(self, *commands: list[str], **environment: str) -> Iterator[None]:
        started = [
            subprocess.Popen(
                [sys.executable, *command],
                cwd=PROJECT,
                env=self.environment | environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for command in commands
        ]
        try:
            yield
        finally:
            for process in started:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def do(self, sql: str) -> None:
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(sql)

    def ask(self, sql: str) -> tuple:
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            row = connection.execute(sql).fetchone()
            assert row is not None
            return row

    def rate(self, count_sql: str, n: int) -> float:
        """Watch a counter from its first step to n; answer steps a second."""
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            began, first = 0.0, 0
            gives_up_at = time.monotonic() + 300
            while time.monotonic() < gives_up_at:
                done = connection.execute(count_sql).fetchone()[0]  # type: ignore[index]
                now = time.monotonic()
                if done and not began:
                    began, first = now, done
                if done >= n:
                    return (n - first) / max(now - began, 1e-3)
                time.sleep(0.01)
        raise AssertionError(f"Only {done} of {n} were done in five minutes.")


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with temporary_folder() as folder:
        yard = Yard(folder)
        yield yard
        yard.server.stop()


def ours(yard: Yard, n: int, *, batch: int) -> float:
    """Drain n no-op items of one job with two worker processes; the job's own times say how long it took."""
    yard.run("manage.py", "make_job", text=json.dumps({"items": n, "pipeline": "silent"}))
    pk = yard.ask("SELECT max(id) FROM jobs_job")[0]
    yard.do(f"UPDATE jobs_job SET max_batch = {batch} WHERE id = {pk}")
    with yard.workers(["manage.py", "qcluster"]):
        wait_until(lambda: yard.ask(f"SELECT status FROM jobs_job WHERE id = {pk}")[0] == "completed", seconds=600)
    sql = (
        "SELECT count(*), extract(epoch FROM max(completed_at) - min(started_at))::float8"
        f" FROM jobs_jobitem WHERE job_id = {pk}"
    )
    done, seconds = yard.ask(sql)
    assert done == n
    return n / seconds


def procrastinate(yard: Yard, n: int) -> float:
    yard.do("TRUNCATE procrastinate_jobs CASCADE")
    yard.run("-m", "tests.performance.procrastinate_app", str(n))
    worker = ["-m", "procrastinate", "--app", PROCRASTINATE_APP, "worker", "--concurrency", "1"]
    with yard.workers(worker, worker):
        return yard.rate("SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'", n)


def stock_django_q2(yard: Yard, n: int) -> float:
    """One Q task an item in its fastest safe setting: results not saved, fifty tasks fetched at once."""
    yard.do("TRUNCATE django_q_ormq")
    yard.run("-m", "tests.performance.stock_tasks", str(n))
    with yard.workers(["manage.py", "qcluster"], Q_BULK="50"):
        return yard.rate(f"SELECT {n} - count(*) FROM django_q_ormq WHERE key = 'default'", n)


def test_durable_items_beside_procrastinate_and_stock_django_q2(yard: Yard):
    contestants: dict[str, Callable[[], float]] = {
        "procrastinate, 2 processes": lambda: procrastinate(yard, 1000),
        "stock django-q2, best": lambda: stock_django_q2(yard, 1000),
        "desk, one commit an item": lambda: ours(yard, 3000, batch=1),
        "desk, adaptive batches": lambda: ours(yard, 60_000, batch=50),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            rates[name].append(run())
    peer, stock = rates["procrastinate, 2 processes"], rates["stock django-q2, best"]
    print(f"\n{'items/s':28} {'median':>8} {'min':>8} {'max':>8} {'x procrastinate':>16} {'x stock':>8}")
    for name, found in rates.items():
        beside_peer = statistics.median(a / b for a, b in zip(found, peer, strict=True))
        beside_stock = statistics.median(a / b for a, b in zip(found, stock, strict=True))
        print(
            f"{name:28} {statistics.median(found):8.0f} {min(found):8.0f} {max(found):8.0f}"
            f" {beside_peer:16.2f} {beside_stock:8.2f}"
        )
    assert all(min(found) > 0 for found in rates.values())


def test_a_million_items_beside_ten_thousand(yard: Yard):
    small = ours(yard, 10_000, batch=50)
    began = time.monotonic()
    yard.run("manage.py", "make_job", text=json.dumps({"items": 1, "pipeline": "silent"}))
    start_up = time.monotonic() - began
    began = time.monotonic()
    large = ours(yard, 1_000_000, batch=50)
    again = ours(yard, 10_000, batch=50)
    ratio = large / ((small + again) / 2)
    print(f"\n10k: {small:.0f} and {again:.0f} items/s, 1M: {large:.0f} items/s, ratio {ratio:.2f}")
    print(f"creating and draining 1M took {time.monotonic() - began:.0f} s; process start {start_up:.1f} s")
    assert large > 0


def test_creating_a_job_of_a_million_items(yard: Yard):
    seconds = float(yard.run("-m", "tests.performance.create_million"))
    print(f"\ncreating 1,000,000 items through the service layer: {seconds:.1f} s")
    assert seconds > 0

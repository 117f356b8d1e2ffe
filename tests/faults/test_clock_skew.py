"""Workers on machines whose clocks are wrong: every time that decides anything is the database's."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from orchestrator.deathsig import die_with
from tests.faults.desk import PROJECT, temporary_folder
from tests.faults.test_queue import Bench
from tests.workbench.waiting import wait_until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, as .ci/run installs one"),
]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with temporary_folder() as folder:
        bench = Bench(folder)
        bench.start()
        wait_until(bench.is_whole)
        yield bench
        bench.end()


@pytest.fixture(scope="module")
def skewed_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("clock") / "skewed_clock.so"
    source = Path(__file__).with_name("skewed_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@contextmanager
def cluster_elsewhere(bench: Bench, skewed_clock: Path, skew_seconds: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run another machine's workers, whose wall clock is off by so much."""
    environment = bench.environment() | {
        "DATABASE_URL": (bench.var_dir / "run" / "database-url").read_text(),
        "LD_PRELOAD": str(skewed_clock),
        "SKEW_SECONDS": str(skew_seconds),
    }
    cluster = subprocess.Popen(
        [sys.executable, "manage.py", "qcluster", "-n", "default"],
        cwd=PROJECT,
        env=environment,
        start_new_session=True,
        preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
    )
    try:
        yield cluster
    finally:
        os.killpg(cluster.pid, signal.SIGKILL)
        cluster.wait()


def owners(bench: Bench, job_id: str) -> set[int]:
    """Name the sessions of the workers that hold a lane of the job now."""
    sql = (
        "SELECT l.owner FROM jobs_lane l JOIN jobs_job j ON j.id = l.job_id WHERE j.job_id = %s AND l.token IS NOT NULL"
    )
    sessions = set()
    for (owner,) in bench.ask(sql, job_id):
        try:
            sessions.add(os.getsid(int(owner.rpartition(":")[2])))
        except ProcessLookupError:
            continue
    return sessions


def test_five_minutes_of_skew_either_way_lose_and_double_nothing(bench: Bench, skewed_clock: Path):
    elsewhere = partial(cluster_elsewhere, bench, skewed_clock)
    with elsewhere(300) as ahead, elsewhere(-300) as behind:
        seen: set[int] = set()
        done = []
        # As long as it takes until workers of both have worked; then the tale is told by the rows.
        while not {ahead.pid, behind.pid} <= seen:
            assert len(done) < 30, "workers with a wrong clock never got a lane"
            before = bench.ask("SELECT now()")[0][0]
            job_id = bench.make_job([{"sleep_seconds": 0.05}] * 100, max_attempts=1)
            wait_until(partial(is_completed, bench, job_id, seen))
            done.append((job_id, before, bench.ask("SELECT now()")[0][0]))

    for job_id, before, after in done:
        assert [row[:3] for row in bench.items(job_id)] == [(seq, "completed", 1) for seq in range(100)]
        bench.assert_counters_are_exact(job_id)
        strays = bench.ask(
            "SELECT count(*) FROM jobs_jobitem WHERE job_id = (SELECT id FROM jobs_job WHERE job_id = %s)"
            " AND NOT (started_at BETWEEN %s AND %s AND completed_at BETWEEN %s AND %s)",
            job_id,
            *[before, after] * 2,
        )
        assert strays == [(0,)]
        assert after - before < timedelta(minutes=5), "times could be off by the skew and still lie in between"


def is_completed(bench: Bench, job_id: str, seen: set[int]) -> bool:
    """Tell whether the job is done; adds who works at it to those seen."""
    seen |= owners(bench, job_id)
    return bench.status_of(job_id) == "completed"

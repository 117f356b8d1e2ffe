"""The queue on a real desk, whose processes die, freeze and vanish while it works.

Every test ends by counting rows: nothing lost, nothing twice, counters exact.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.faults.desk import PROJECT, Desk, temporary_folder
from tests.workbench.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]


class Bench(Desk):
    """A desk with the workbench pipeline, and short times so that recovery takes seconds."""

    def __init__(self, folder: Path, **variables: str) -> None:
        quick = {"LEASE_SECONDS": "3", "SLICE_SECONDS": "1", "RECONCILE_SECONDS": "2", "WATCHDOG_SECONDS": "1"}
        super().__init__(folder, DJANGO_SETTINGS_MODULE="tests.workbench.settings", **quick, **variables)

    def make_job(self, items: int | list[dict[str, Any]], **draft: Any) -> str:
        made = subprocess.run(
            [sys.executable, "manage.py", "make_job"],
            cwd=PROJECT,
            env=self.environment(),
            input=json.dumps({"items": items, **draft}),
            capture_output=True,
            text=True,
            check=True,
        )
        return made.stdout.strip()

    def post(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.address}/api/perspectives/batch/{path}",
            data=json.dumps(body or {}).encode(),
            method="POST",
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    def ask(self, sql: str, *parameters: Any) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(sql, parameters).fetchall()

    def status_of(self, job_id: str) -> str:
        try:
            return self.ask("SELECT status FROM jobs_job WHERE job_id = %s", job_id)[0][0]
        except psycopg.OperationalError:
            return "database away"

    def n_closed(self, job_id: str) -> int:
        try:
            return self.ask(
                "SELECT count(*) FROM jobs_jobitem i JOIN jobs_job j ON j.id = i.job_id"
                " WHERE j.job_id = %s AND i.completed_at IS NOT NULL",
                job_id,
            )[0][0]
        except psycopg.OperationalError:
            return 0

    def wait_for_end(self, job_id: str) -> str:
        wait_until(lambda: self.status_of(job_id) in ("completed", "partial", "failed", "cancelled"))
        return self.status_of(job_id)

    def items(self, job_id: str) -> list[tuple[int, str, int, Any]]:
        return self.ask(
            "SELECT i.seq, i.status, i.attempts, i.result FROM jobs_jobitem i JOIN jobs_job j ON j.id = i.job_id"
            " WHERE j.job_id = %s ORDER BY i.seq",
            job_id,
        )

    def assert_counters_are_exact(self, job_id: str) -> None:
        counters = self.ask(
            "SELECT processed_images, failed_images, cancelled_images, total_images FROM jobs_job WHERE job_id = %s",
            job_id,
        )[0]
        found = Counter(status for _, status, _, _ in self.items(job_id))
        assert counters == (found["completed"], found["failed"], found["cancelled"], sum(found.values()))

    def busy_worker(self, job_id: str) -> psutil.Process:
        """Find a process that holds a lane of the job."""
        sql = (
            "SELECT l.owner FROM jobs_lane l JOIN jobs_job j ON j.id = l.job_id"
            " WHERE j.job_id = %s AND l.token IS NOT NULL LIMIT 1"
        )
        wait_until(lambda: self.ask(sql, job_id))
        return psutil.Process(int(self.ask(sql, job_id)[0][0].rpartition(":")[2]))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with temporary_folder() as folder:
        bench = Bench(folder)
        bench.start()
        wait_until(bench.is_whole)
        yield bench
        bench.end()


def test_killing_every_role_once_changes_nothing_in_the_end_result(bench: Bench):
    payload = {"sleep_seconds": 0.05}
    undisturbed = bench.make_job([payload] * 60)
    bench.wait_for_end(undisturbed)
    shape = bench.shape()

    job_id = bench.make_job([payload] * 400)
    for n, role in enumerate(("worker", "default sentinel", "default main", "postgres", "web"), start=1):
        wait_until(lambda n=n: bench.n_closed(job_id) >= 40 * n)
        pid = bench.busy_worker(job_id).pid if role == "worker" else bench.pid_of(role)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert bench.wait_for_end(job_id) == "completed"

    expected = [(seq, "completed", {"seq": seq}) for seq in range(400)]
    assert [(seq, status, result) for seq, status, _, result in bench.items(job_id)] == expected
    assert [(seq, status, result) for seq, status, _, result in bench.items(undisturbed)] == expected[:60]
    bench.assert_counters_are_exact(job_id)
    wait_until(lambda: bench.shape() == shape)


def test_an_item_that_kills_its_worker_ends_as_worker_lost_and_the_rest_completes(bench: Bench):
    job_id = bench.make_job([{}, {"do": "kill"}, {}, {}], max_attempts=2)

    assert bench.wait_for_end(job_id) == "partial"

    assert [status for _, status, _, _ in bench.items(job_id)] == ["completed", "failed", "completed", "completed"]
    assert bench.ask("SELECT error_code FROM jobs_jobitem WHERE status = 'failed'") == [("worker_lost",)]
    bench.assert_counters_are_exact(job_id)


def test_a_worker_frozen_past_its_lease_changes_nothing_when_it_thaws(bench: Bench, tmp_path: Path):
    job_id = bench.make_job([{"sleep_seconds": 6}] * 2, config={"log": str(tmp_path / "log")})
    frozen = bench.busy_worker(job_id)
    frozen.suspend()
    try:
        assert bench.wait_for_end(job_id) == "completed"
        before = bench.ask("SELECT * FROM jobs_jobitem ORDER BY id"), bench.ask("SELECT n_completed FROM jobs_lane")
    finally:
        frozen.resume()
    wait_until(lambda: "lane lost" in "".join(log.read_text() for log in (bench.var_dir / "log").glob("*")))

    assert (
        bench.ask("SELECT * FROM jobs_jobitem ORDER BY id"),
        bench.ask("SELECT n_completed FROM jobs_lane"),
    ) == before
    assert len((tmp_path / "log").read_text().splitlines()) == 3  # one of the two ran again
    bench.assert_counters_are_exact(job_id)


def test_cancelling_ends_a_native_child_that_ignores_sigterm(bench: Bench, tmp_path: Path):
    pid_file = tmp_path / "pid"
    job_id = bench.make_job([{"do": "child", "pid_file": str(pid_file)}], config={"cluster": "heavy"}, cluster="heavy")
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    child = psutil.Process(int(pid_file.read_text()))

    assert bench.post(f"cancel/{job_id}")["status"] == "cancelled"

    wait_until(lambda: not child.is_running())
    assert [status for _, status, _, _ in bench.items(job_id)] == ["cancelled"]
    bench.assert_counters_are_exact(job_id)
    following = bench.make_job(1, cluster="heavy")
    assert bench.wait_for_end(following) == "completed"


def test_limits_hold_in_a_storm_while_they_change(bench: Bench):
    """Eight workers, thirty jobs, limits moving: nothing starts while as many run as may."""
    bench.post("limits", {"maxConcurrentJobs": 0})
    jobs = bench.make_job([{"sleep_seconds": 0.03}] * 12, copies=30).split()
    samples: list[tuple[int, int, int, int]] = []
    limits = [(2, 4), (1, 1), (3, 2), (1, 4), (2, 1)]
    turn = 0
    changed_at = 0.0
    sql = (
        "SELECT queue.max_jobs, queue.max_items,"
        " (SELECT count(*) FROM jobs_job WHERE status = 'running'),"
        " (SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM jobs_lane WHERE token IS NOT NULL AND NOT retired"
        "  GROUP BY job_id) held)"
        " FROM jobs_queue queue WHERE name = 'default'"
    )
    with bench.connect() as connection:
        while any(bench.status_of(job_id) != "completed" for job_id in jobs):
            if time.monotonic() - changed_at > 1.5:
                changed_at = time.monotonic()
                max_jobs, max_items = limits[turn % len(limits)]
                bench.post("limits", {"maxConcurrentJobs": max_jobs, "maxConcurrentItems": max_items})
                turn += 1
            samples += [connection.execute(sql).fetchone() for _ in range(20)]  # type: ignore[misc]

    # Above a limit that was lowered it may only fall; a job may have come in just before the limit changed. Lanes in
    # service are retired with the change itself and never exceed it.
    for (allowed_before, _, before, _), (max_jobs, max_items, running, lanes) in pairwise(samples):
        assert running <= max(max_jobs, allowed_before, before)
        assert lanes <= max_items
    assert turn >= 2
    for job_id in jobs:
        bench.assert_counters_are_exact(job_id)
    bench.post("limits", {"maxConcurrentJobs": None, "maxConcurrentItems": None})


def test_a_stop_in_the_middle_costs_no_attempt_and_the_next_start_goes_on():
    with temporary_folder() as folder:
        bench = Bench(folder)
        bench.start()
        try:
            job_id = bench.make_job([{"sleep_seconds": 0.4, "listens": True}] * 30)
            wait_until(lambda: bench.n_closed(job_id) >= 2)

            bench.stop()
            assert bench.processes() == []
            bench.start()

            assert bench.wait_for_end(job_id) == "completed"
            assert {attempts for _, _, attempts, _ in bench.items(job_id)} == {1}
            bench.assert_counters_are_exact(job_id)
        finally:
            bench.end()


# A worker is held at a point of its slice by the database itself: the first row that passes makes its statement sleep.
# Nothing of the process is patched; the sequence is not transactional, so a rolled-back hold does not come twice.
POINTS = {
    "taking a lane": ("jobs_lane", "OLD.token IS NULL AND NEW.token IS NOT NULL"),
    "claiming": ("jobs_jobitem", "OLD.status = 'pending' AND NEW.status = 'running'"),
    "writing the result": ("jobs_jobitem", "OLD.status = 'running' AND NEW.status = 'completed'"),
    "releasing the lane": ("jobs_lane", "OLD.token IS NOT NULL AND NEW.token IS NULL"),
}


def hold_first_worker_at(bench: Bench, point: str) -> None:
    table, condition = POINTS[point]
    with bench.connect() as connection:
        connection.execute("CREATE SEQUENCE hold")
        connection.execute(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF nextval('hold') = 1 THEN PERFORM pg_sleep(120); END IF; RETURN NEW; END $$"
        )
        connection.execute(
            f"CREATE TRIGGER hold BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION hold()"
        )


def let_go(bench: Bench) -> None:
    with bench.connect() as connection:
        connection.execute("DROP FUNCTION hold CASCADE")
        connection.execute("DROP SEQUENCE hold")


def process_behind(client_port: int) -> psutil.Process:
    """Find the process at the other end of a database connection."""
    owners = [found.pid for found in psutil.net_connections("tcp") if found.laddr and found.laddr.port == client_port]
    return psutil.Process(next(pid for pid in owners if pid))


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_point_of_its_slice_loses_and_doubles_nothing(bench: Bench, point: str):
    sleeping = "SELECT pid, client_port FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    hold_first_worker_at(bench, point)
    try:
        job_id = bench.make_job([{"sleep_seconds": 0.02}] * 20)
        wait_until(lambda: bench.ask(sleeping))
        backend, client_port = bench.ask(sleeping)[0]

        process_behind(client_port).kill()
        bench.ask("SELECT pg_terminate_backend(%s)", backend)

        assert bench.wait_for_end(job_id) == "completed"
        assert [(seq, result) for seq, _, _, result in bench.items(job_id)] == [
            (seq, {"seq": seq}) for seq in range(20)
        ]
        bench.assert_counters_are_exact(job_id)
    finally:
        let_go(bench)

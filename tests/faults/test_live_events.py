"""Live events on a real desk whose processes die: viewers and the message broker see every number once and in order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import psutil
import psycopg
import pytest
from pytest_httpserver import HTTPServer
from websockets.exceptions import WebSocketException
from werkzeug import Request, Response

from tests.faults.desk import free_port, temporary_folder
from tests.faults.test_queue import Bench
from tests.workbench.viewer import Viewer
from tests.workbench.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]


class Returning(threading.Thread):
    """A viewer that comes back after every loss with the last number it has, as a good client does."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self.events: list[dict] = []
        self.complaints: list[dict] = []
        self.n_connections = 0
        self._place = (port, path)
        self._is_wanted = threading.Event()
        self._is_wanted.set()
        self._is_over = threading.Event()

    @property
    def sequences(self) -> list[int]:
        return [event["sequence"] for event in self.events]

    def run(self) -> None:
        while not self._is_over.is_set():
            self._is_wanted.wait(1)
            try:
                self._watch()
            except (OSError, WebSocketException):
                time.sleep(0.1)

    def _watch(self) -> None:
        port, path = self._place
        last = self.sequences[-1] if self.events else 0
        with Viewer(port, path, origin=None, after=last) as viewer:
            self.n_connections += 1
            while self._is_wanted.is_set() and not self._is_over.is_set():
                try:
                    message = viewer.hear(seconds=0.2)
                except TimeoutError:
                    continue
                if "messageId" in message:
                    self.events.append(message)
                elif message["type"] == "ERROR":
                    self.complaints.append(message)

    def go_away(self) -> None:
        self._is_wanted.clear()

    def come_back(self) -> None:
        self._is_wanted.set()

    def end(self) -> None:
        self._is_over.set()
        self._is_wanted.set()
        self.join(30)


class Broker:
    """A message broker that can be away; keeps what it took in the order it came."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken: list[tuple[str | None, int, str]] = []
        self.url = f"http://127.0.0.1:{self.port}/events"
        self._server: HTTPServer | None = None

    def come(self) -> None:
        self._server = HTTPServer(port=self.port, threaded=True)
        self._server.expect_request("/events", method="POST").respond_with_handler(self._take)
        self._server.start()

    def go(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _take(self, request: Request) -> Response:
        envelope = json.loads(request.get_data())
        self.taken.append((envelope["jobId"], envelope["sequence"], request.headers["Idempotency-Key"]))
        return Response(status=204)

    def sequences(self, job_id: str) -> list[int]:
        """Numbers of one job as a broker knows them that leaves out what it has just had, by its key."""
        of_job = [(sequence, key) for its_job, sequence, key in self.taken if its_job == job_id]
        return [sequence for (sequence, _), _ in groupby(of_job)]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.go()


@pytest.fixture(scope="module")
def bench(broker: Broker) -> Iterator[Bench]:
    with temporary_folder() as folder:
        bench = Bench(folder, MESSAGE_BROKER_URL=broker.url, MESSAGE_BROKER_SECRET="between-us")
        bench.start()
        wait_until(bench.is_whole)
        yield bench
        bench.end()


@pytest.fixture
def watched(bench: Bench) -> Iterator[tuple[str, Returning]]:
    """A running job of six seconds' work, and somebody who watches it."""
    job_id = bench.make_job([{"sleep_seconds": 0.08}] * 320)
    viewer = Returning(bench.port, f"/api/ws/jobs/{job_id}")
    viewer.start()
    wait_until(lambda: len(viewer.events) > 3)
    yield job_id, viewer
    viewer.end()


@contextmanager
def unpublishable(bench: Bench, job_id: str) -> Iterator[psycopg.Connection]:
    """Hold the job's stream, so that what is committed meanwhile cannot be numbered and told."""
    with bench.connect() as connection, connection.transaction():
        connection.execute(
            "SELECT FROM jobs_eventstream s JOIN jobs_job j ON j.id = s.job_id WHERE j.job_id = %s FOR UPDATE OF s",
            [job_id],
        )
        yield connection


def n_untold(bench: Bench, job_id: str) -> int:
    return bench.ask(
        "SELECT count(*) FROM jobs_jobevent e JOIN jobs_job j ON j.id = e.job_id"
        " WHERE j.job_id = %s AND e.sequence IS NULL",
        job_id,
    )[0][0]


def kill_web_and_busy_workers(bench: Bench) -> None:
    """Idle workers are spared: their death can leave Django-Q's own queue locked, which is another test's matter."""
    # Between two slices of work nobody is busy.
    owners = wait_until(lambda: bench.ask("SELECT DISTINCT owner FROM jobs_lane WHERE token IS NOT NULL"))
    kill(bench, "web")
    for (owner,) in owners:
        psutil.Process(int(owner.rpartition(":")[2])).kill()


def kill(bench: Bench, role: str) -> None:
    for process in bench.roles()[role]:
        process.kill()


def assert_everything_was_seen(bench: Bench, job_id: str, sequences: list[int]) -> None:
    last = bench.ask(
        "SELECT s.sequence FROM jobs_eventstream s JOIN jobs_job j ON j.id = s.job_id WHERE j.job_id = %s", job_id
    )[0][0]
    assert sequences == list(range(1, last + 1))


def wait_for_the_last(bench: Bench, job_id: str, viewer: Returning) -> None:
    assert bench.wait_for_end(job_id) == "completed"
    wait_until(lambda: viewer.events and viewer.events[-1]["type"] == "JOB_COMPLETED")


def test_at_most_four_publications_a_second_reach_a_viewer(bench: Bench):
    job_id = bench.make_job([{"sleep_seconds": 0.002}] * 1000)
    viewer = Returning(bench.port, f"/api/ws/jobs/{job_id}")
    viewer.start()

    wait_for_the_last(bench, job_id, viewer)
    viewer.end()

    started, ended = bench.ask("SELECT started_at, completed_at FROM jobs_job WHERE job_id = %s", job_id)[0]
    progress = [event for event in viewer.events if event["type"] == "JOB_PROGRESS"]
    assert len(progress) <= 4 * (ended - started).total_seconds() + 2
    assert progress[-1]["data"]["processedImages"] == 1000


def test_worker_and_web_killed_between_commit_and_notification_lose_no_event(
    bench: Bench, watched: tuple[str, Returning]
):
    job_id, viewer = watched

    with unpublishable(bench, job_id):
        wait_until(lambda: n_untold(bench, job_id) >= 4)
        heard_before = len(viewer.events)
        kill_web_and_busy_workers(bench)
        wait_until(bench.is_whole)
        assert n_untold(bench, job_id) >= 4
        assert len(viewer.events) == heard_before
    wait_for_the_last(bench, job_id, viewer)

    assert_everything_was_seen(bench, job_id, viewer.sequences)
    items = [item["itemId"] for event in viewer.events for item in event["data"].get("items", [])]
    assert len(items) == len(set(items)) == 320
    assert viewer.n_connections > 1
    assert viewer.complaints == []


def test_a_publisher_killed_in_the_middle_leaves_no_gap(bench: Bench, watched: tuple[str, Returning]):
    job_id, viewer = watched

    with bench.connect() as connection, connection.transaction():
        # Whoever publishes now gets as far as writing the numbers and no further.
        wait_until(
            lambda: (
                connection.execute(
                    "SELECT FROM jobs_jobevent e JOIN jobs_job j ON j.id = e.job_id"
                    " WHERE j.job_id = %s AND e.sequence IS NULL FOR UPDATE OF e SKIP LOCKED",
                    [job_id],
                ).rowcount
            )
        )
        wait_until(
            lambda: bench.ask(
                "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s", "%jobs_jobevent%"
            )
        )
        kill_web_and_busy_workers(bench)
        wait_until(bench.is_whole)
    wait_for_the_last(bench, job_id, viewer)

    assert_everything_was_seen(bench, job_id, viewer.sequences)
    assert viewer.complaints == []


def test_a_viewer_who_was_away_and_a_database_that_died_change_nothing(bench: Bench, watched: tuple[str, Returning]):
    job_id, viewer = watched
    other = Returning(bench.port, "/api/ws/jobs/" + job_id)
    other.start()

    viewer.go_away()
    n_heard = len(viewer.events)
    kill(bench, "postgres")
    wait_until(lambda: bench.n_closed(job_id) > 200)
    assert len(viewer.events) <= n_heard + 1
    viewer.come_back()
    wait_for_the_last(bench, job_id, viewer)
    wait_until(lambda: len(other.events) == len(viewer.events))
    other.end()

    assert_everything_was_seen(bench, job_id, viewer.sequences)
    assert other.events == viewer.events
    assert viewer.complaints == []


def test_a_broker_that_was_away_hears_everything_once_and_in_order(bench: Bench, broker: Broker):
    """Runs last: the jobs of the tests before it are what the broker has missed until now."""
    job_id = bench.make_job([{"sleep_seconds": 0.05}] * 160)
    wait_until(lambda: bench.n_closed(job_id) > 40)

    broker.come()
    wait_until(lambda: broker.sequences(job_id))
    kill(bench, "web")  # in the middle of its deliveries
    wait_until(bench.is_whole)
    broker.go()
    wait_until(lambda: bench.n_closed(job_id) == 160)
    broker.come()
    assert bench.wait_for_end(job_id) == "completed"
    wait_until(lambda: not bench.ask("SELECT FROM jobs_brokerdelivery WHERE next_attempt_at IS NOT NULL"), seconds=120)

    for (known,) in bench.ask("SELECT job_id::text FROM jobs_job"):
        assert_everything_was_seen(bench, known, broker.sequences(known))

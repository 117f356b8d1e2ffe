"""The supervisor against real processes: refusals, healing, the watchdog, and leaving nothing behind."""

import http.client
import os
import signal
import socket
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from django.conf import settings

from orchestrator.postgres import Postgres
from tests.faults.desk import Desk, lives, temporary_folder
from tests.workbench.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

CLUSTERS = ("default", "vision", "heavy")


@pytest.fixture(scope="module")
def shared() -> Iterator[Desk]:
    """One desk for the tests that leave it whole."""
    with temporary_folder() as folder:
        desk = Desk(folder)
        desk.start()
        wait_until(desk.is_whole)
        yield desk
        desk.end()


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


def answers(desk: Desk) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=5)
    try:
        connection.request("GET", "/api/health/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def whole_shape(desk: Desk) -> Counter[str]:
    """Return the processes of a desk that is complete: one of each, and every worker that the settings ask for."""
    workers = {"default": settings.Q_CLUSTER["workers"]}
    workers |= {name: conf["workers"] for name, conf in settings.Q_CLUSTER["ALT_CLUSTERS"].items()}
    shape = Counter({"web": 1, "tus": 1, "postgres": 1})
    for cluster, n_workers in workers.items():
        shape += Counter({f"{cluster} main": 1, f"{cluster} sentinel": 1, f"{cluster} members": n_workers + 2})
    wait_until(lambda: desk.shape() == shape, seconds=180)
    return shape


def has_no_stranger(desk: Desk) -> bool:
    """Tell whether each process belongs to a role, to the supervisor or to PostgreSQL."""
    known = {process.pid for members in desk.roles().values() for process in members} | {desk.supervisor.pid}
    data_folder = str(desk.var_dir / "postgres" / "data")
    try:
        return all(process.pid in known or process.cwd() == data_folder for process in desk.processes())
    except psutil.Error:  # one ended while we looked
        return False


def reaches_its_database(desk: Desk) -> bool:
    try:
        desk.connect().close()
    except psycopg.OperationalError:
        return False
    return True


def refusal_of(desk: Desk, *arguments: str) -> str:
    """Start a desk that must refuse, and return all that it printed."""
    output, _ = desk.launch(*arguments).communicate(timeout=60)
    assert desk.supervisor.returncode != 0
    assert desk.processes() == []
    return output


def test_a_second_desk_on_the_same_folder_is_refused_in_one_line(shared: Desk):
    second = Desk(shared.var_dir.parent)

    output, _ = second.launch().communicate(timeout=60)

    assert second.supervisor.returncode == 1
    assert output == f"VAR_DIR {shared.var_dir} is in use by another desk (process {shared.supervisor.pid}).\n"
    assert answers(shared)


def test_a_taken_port_is_refused_in_one_line(folder: Path):
    desk = Desk(folder)
    with socket.create_server(("127.0.0.1", desk.port)):
        output = refusal_of(desk)

    assert output == (
        f"PORT {desk.port} on 127.0.0.1 cannot be used: Address already in use. "
        f"Choose another, for instance PORT={desk.port + 1}.\n"
    )


@pytest.mark.parametrize("variables", [{}, {"SECRET_KEY": "given-from-outside-" + "x" * 40}])
def test_an_unusable_folder_is_refused_in_one_line(folder: Path, variables: dict[str, str]):
    desk = Desk(folder, **variables)
    desk.var_dir.write_text("a file, not a folder")

    output = refusal_of(desk)

    assert "VAR_DIR" in output
    assert output.endswith(f"{desk.var_dir} cannot be used: Not a directory.\n")
    assert output.count("\n") == 1


def test_a_foreign_address_is_refused_in_one_line(folder: Path):
    output = refusal_of(Desk(folder, HOST="192.0.2.1"))

    assert "on 192.0.2.1 cannot be used: Cannot assign requested address" in output
    assert output.count("\n") == 1


def test_a_database_that_is_not_there_is_said_in_one_line(folder: Path):
    desk = Desk(folder)
    desk.variables["DATABASE_URL"] = f"postgresql+asyncpg://ann:hunter2@127.0.0.1:{desk.port}/desk"

    output = refusal_of(desk)

    assert output.startswith("DATABASE_URL cannot be reached: ")
    assert output.count("\n") == 1
    assert "hunter2" not in output


def test_a_part_without_a_database_is_refused_in_one_line(folder: Path):
    assert refusal_of(Desk(folder), "--only", "heavy") == "DATABASE_URL must be set to run a part of a desk.\n"


def test_the_first_start_names_address_and_operator(shared: Desk):
    assert f"{shared.address}/" in shared.output
    assert f"{shared.address}/admin/" in shared.output
    assert "password" in shared.output


def test_what_is_kept_is_closed_to_others(shared: Desk):
    for name in ("secret-key", "run/database-url", "postgres/password"):
        assert stat.S_IMODE((shared.var_dir / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((shared.var_dir / "postgres" / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("role", "which"),
    [
        ("web", 0),
        ("tus", 0),
        ("postgres", 0),
        ("default main", 0),
        ("vision sentinel", 0),
        ("default members", 0),  # a worker
        ("heavy members", -2),  # the monitor
        ("heavy members", -1),  # the pusher
    ],
)
def test_a_killed_process_is_replaced_and_none_is_left_over(shared: Desk, role: str, which: int):
    wait_until(shared.is_whole, seconds=180)
    shape = whole_shape(shared)
    victim = shared.roles()[role][which]

    victim.kill()

    wait_until(lambda: not lives(victim))
    # A cluster that an idle worker's death has blocked is restarted meanwhile, so this may take a minute and more.
    wait_until(lambda: shared.shape() == shape, seconds=180)
    wait_until(lambda: answers(shared))
    # Whatever the dead one had started is gone too.
    wait_until(lambda: has_no_stranger(shared))
    wait_until(lambda: reaches_its_database(shared))


def test_a_frozen_cluster_is_restarted_unless_it_renews_a_lane(folder: Path):
    desk = Desk(folder, CANARY_SECONDS="1", CANARY_STALE_SECONDS="20", WATCHDOG_SECONDS="0.5")
    desk.start()
    wait_until(desk.is_whole)
    with desk.connect() as connection:
        job = connection.execute(
            "INSERT INTO jobs_job (type, pipeline, cluster, queue_id) VALUES ('SURVEY', 'none', 'heavy', 'heavy') "
            "RETURNING id"
        ).fetchone()
        assert job is not None
        connection.execute("INSERT INTO jobs_lane (job_id, n) VALUES (%s, 1)", [job[0]])
    is_over = threading.Event()

    def renew() -> None:
        """Stand in for a worker of the heavy cluster that is busy with one long item."""
        with desk.connect() as lanes:
            while not is_over.wait(0.2):
                lanes.execute("UPDATE jobs_lane SET renewed_at = now() WHERE job_id = %s", [job[0]])

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        before = {cluster: desk.roles()[f"{cluster} main"][0] for cluster in CLUSTERS}
        # Frozen: alive for whoever looks at processes, dead for whoever waits for work.
        for cluster in ("vision", "heavy"):
            for process in [*desk.roles()[f"{cluster} sentinel"], *desk.roles()[f"{cluster} members"]]:
                process.suspend()

        wait_until(lambda: desk.pid_of("vision main") not in {before["vision"].pid, None}, seconds=180)
        wait_until(desk.is_whole, seconds=180)

        assert before["default"].is_running()
        assert before["heavy"].is_running()
    finally:
        is_over.set()
        thread.join()
        desk.end()


def test_a_killed_supervisor_leaves_no_process_and_its_folder_starts_again_elsewhere(folder: Path):
    desk = Desk(folder)
    desk.start()
    wait_until(desk.is_whole)
    with desk.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
    key = (desk.var_dir / "secret-key").read_text()

    desk.supervisor.kill()
    desk.supervisor.wait()

    wait_until(lambda: desk.processes() == [])
    again = Desk(folder)
    again.start()
    with again.connect() as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
    assert (again.var_dir / "secret-key").read_text() == key
    assert "password" not in again.output  # said once, at the first start
    assert answers(again)

    assert again.stop(signal.SIGTERM) == 0

    assert again.processes() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets folders that user nobody cannot enter")
def test_one_interrupt_stops_everything_also_in_a_private_folder_of_root():
    with temporary_folder(0o700) as folder:
        desk = Desk(folder)
        desk.start()
        wait_until(desk.is_whole)
        assert answers(desk)

        assert desk.stop(signal.SIGINT) == 0

        assert desk.processes() == []
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not (desk.var_dir / "run" / "drain").exists()
        assert not (desk.var_dir / "run" / "database-url").exists()
        assert "shutting down" in (desk.var_dir / "postgres" / "postgres.log").read_text()


def test_parts_run_alone_on_a_database_elsewhere(folder: Path):
    programs = os.environ.get("POSTGRES_BIN")
    elsewhere = Postgres(folder / "elsewhere", programs=Path(programs) if programs else None)
    elsewhere.start()
    desk = Desk(folder)
    desk.variables["DATABASE_URL"] = elsewhere.url
    try:
        assert "password" in desk.prepare()
        part = desk.launch("--only", "heavy")
        assert part.stdout is not None
        assert part.stdout.readline() == "Running: heavy.\n"
        wait_until(lambda: desk.shape()["heavy members"] == 4)
        first = desk.roles()["heavy main"][0]
        first.kill()
        wait_until(lambda: desk.pid_of("heavy main") not in {first.pid, None})
        wait_until(lambda: desk.shape()["heavy members"] == 4)

        assert desk.stop(signal.SIGTERM) == 0

        assert desk.processes() == []
    finally:
        desk.end()
        elsewhere.stop()


def test_an_interrupt_while_it_starts_leaves_nothing(folder: Path):
    desk = Desk(folder)
    supervisor = desk.launch()
    wait_until((desk.var_dir / "run" / "database-url").exists)

    supervisor.send_signal(signal.SIGINT)

    assert supervisor.wait(timeout=60) == 0
    assert desk.processes() == []
    desk.end()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(port=desk.port, host="127.0.0.1", connect_timeout=2)

"""The embedded PostgreSQL: starts, recovers, hides, and dies with its starter. Every test runs a real server."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.postgres import Postgres, PostgresUnavailable
from tests.workbench.waiting import wait_until

PROGRAMS = Path(os.environ["POSTGRES_BIN"]) if os.environ.get("POSTGRES_BIN") else None
IS_ROOT = os.geteuid() == 0


def make_server(folder: Path) -> Postgres:
    return Postgres(folder, programs=PROGRAMS, settings={"fsync": "off"})


def count_rows(server: Postgres) -> int:
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user may enter, as a desk's usually is (pytest's own are closed to others)."""
    place = Path("/tmp") / f"desk-postgres-{os.getpid()}-{tmp_path.name}"
    place.mkdir(mode=0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def server(folder: Path) -> Iterator[Postgres]:
    server = make_server(folder / "postgres")
    server.start()
    yield server
    server.stop()


def test_data_survive_a_stop_and_a_start_on_another_port(server: Postgres, folder: Path):
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100)")
    server.stop()

    again = make_server(folder / "postgres")
    again.start()

    assert count_rows(again) == 100
    again.stop()


def test_a_killed_server_comes_back_on_its_port_with_its_rows(server: Postgres):
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100)")
    address, first = server.url, server.pid
    assert first is not None
    idle = psycopg.connect(server.url)  # its backend outlives the postmaster for a moment
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: server.pid is None)

    server.start()

    assert server.url == address
    assert server.pid not in {first, None}
    assert count_rows(server) == 100
    idle.close()


def test_a_pid_file_that_names_a_stranger_does_not_stop_the_start(server: Postgres, folder: Path):
    server.stop()
    stranger = subprocess.Popen(["sleep", "600"])
    pid_file = folder / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{stranger.pid}\n{pid_file.parent}\n0\n5432\n\n127.0.0.1\n 0 0\nready\n")

    server.start()

    assert server.pid is not None
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_only_who_knows_the_password_gets_in(server: Postgres, folder: Path):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url.replace("desk:", "desk:x"))

    assert stat.S_IMODE((folder / "postgres" / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "postgres" / "data").stat().st_mode) == 0o700


def test_it_listens_on_loopback_and_has_no_socket_file(server: Postgres):
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        assert connection.execute("SHOW unix_socket_directories").fetchone() == ("",)


@pytest.mark.skipif(not IS_ROOT, reason="only root needs another user for PostgreSQL")
def test_root_with_a_private_folder_runs_it_in_a_user_namespace(server: Postgres, folder: Path):
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 100)")
    server.stop()
    folder.chmod(0o700)

    private = make_server(folder / "postgres")
    private.start()

    assert count_rows(private) == 100
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "postgres" / "data").stat().st_uid == 0
    private.stop()


def test_an_initialisation_that_was_cut_off_is_done_again(folder: Path):
    (folder / "postgres" / "data.new" / "base").mkdir(parents=True)
    (folder / "postgres" / "password").write_text("of the first try")
    server = make_server(folder / "postgres")

    server.start()

    assert server.pid is not None
    server.stop()


def test_data_of_a_version_that_is_not_installed_are_refused(folder: Path):
    (folder / "postgres" / "data").mkdir(parents=True)
    (folder / "postgres" / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(PostgresUnavailable, match=r"needed is the one that wrote .*, 9; found: 1\d in "):
        make_server(folder / "postgres").start()


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_it_ends_when_its_starter_is_killed(folder: Path, mode: int):
    folder.chmod(mode)
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import pathlib, sys, time\n"
                "from orchestrator.postgres import Postgres\n"
                "programs = pathlib.Path(sys.argv[2]) if sys.argv[2] else None\n"
                "server = Postgres(pathlib.Path(sys.argv[1]), programs=programs, settings={'fsync': 'off'})\n"
                "server.start()\n"
                "print(server.pid, flush=True)\n"
                "time.sleep(600)\n"
            ),
            str(folder / "postgres"),
            str(PROGRAMS or ""),
        ],
        cwd=Path(__file__).resolve().parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    postmaster = int(starter.stdout.readline())
    assert Path(f"/proc/{postmaster}/cwd").readlink() == folder / "postgres" / "data"

    starter.kill()
    starter.wait()

    wait_until(lambda: make_server(folder / "postgres")._processes_in_data_folder() == [])
    assert not (folder / "postgres" / "data" / "postmaster.pid").exists()
    starter.stdout.close()

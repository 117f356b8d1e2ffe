"""The upload service when things break: real processes, real sockets, a real database."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests

from tests.workbench.tus import Answer, Service, Wire, database
from tests.workbench.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

CONTENT = os.urandom(12_000_000)
TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    with database() as url:
        yield url


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    with Service(database_url, tmp_path / "var") as service:
        yield service


def path_of(address: str) -> str:
    return "/files/" + address.rsplit("/", 1)[1]


def begin(service: Service, address: str, offset: int, length: int, **headers: str) -> Wire:
    wire = Wire(service.port)
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    wire.begin("PATCH", path_of(address), {"Upload-Offset": str(offset)} | OCTETS | said, length=length)
    return wire


def head(service: Service, address: str, **headers: str) -> Answer:
    wire = Wire(service.port)
    wire.begin("HEAD", path_of(address), {name.replace("_", "-"): value for name, value in headers.items()})
    received = wire.socket.recv(65536).decode()
    wire.cut()
    first, *rest = received.split("\r\n")
    return Answer(
        int(first.split()[1]), {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in rest)}, b""
    )


def resume(service: Service, address: str, content: bytes = CONTENT) -> None:
    """Go on as a client does: ask how far it is, send the rest with the length, and again where it is told so.

    A service that was killed leaves its lease behind, and who comes before that is over is answered 423.
    """
    for _ in range(10):
        offset = head(service, address).offset
        wire = begin(service, address, offset, len(content) - offset, Upload_Length=str(len(content)))
        wire.send(content[offset:])
        answer = wire.answer()
        wire.cut()
        if answer.status != 423:
            break
        time.sleep(float(answer.headers["retry-after"]))
    assert answer.status == 204, answer
    assert answer.offset == len(content)


def assert_whole(service: Service, address: str, content: bytes = CONTENT) -> None:
    row = service.row(address)
    assert row["finished_at"] is not None
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert service.file_of(address) == content


# --- Death


def test_a_killed_service_loses_nothing_that_it_counted(service: Service):
    slot = service.open_slot()
    wire = begin(service, slot, 0, len(CONTENT))
    wire.send(CONTENT[:8_000_000])
    wait_until(lambda: service.row(slot)["offset"] == 8_000_000, seconds=20)
    wire.send(CONTENT[8_000_000:8_100_000])
    service.kill()

    service.start()

    assert head(service, slot).offset in {8_000_000, 8_100_000}
    resume(service, slot)
    assert_whole(service, slot)


def test_many_kills_in_the_middle_of_many_uploads_lose_nothing(service: Service):
    slots = [service.open_slot() for _ in range(4)]

    def send(slot: str) -> None:
        while service.row(slot)["finished_at"] is None:
            try:
                offset = head(service, slot).offset
                wire = begin(service, slot, offset, len(CONTENT) - offset, Upload_Length=str(len(CONTENT)))
                for start in range(offset, len(CONTENT), 200_000):
                    wire.send(CONTENT[start : start + 200_000])
                    time.sleep(0.02)  # a phone's pace, so that kills hit the middle
                wire.answer()
            except (OSError, AssertionError, IndexError, KeyError):
                time.sleep(0.1)

    senders = [threading.Thread(target=send, args=(slot,)) for slot in slots]
    for sender in senders:
        sender.start()
    for aim in (2_000_000, 5_000_000, 9_000_000):
        wait_until(lambda aim=aim: max(int(str(service.row(slot)["offset"])) for slot in slots) >= aim, seconds=60)
        service.kill()
        service.start()
    for sender in senders:
        sender.join(timeout=120)

    for slot in slots:
        assert_whole(service, slot)


def test_a_service_that_died_before_the_finish_finishes_when_it_is_asked(service: Service):
    slot = service.open_slot()
    wire = begin(service, slot, 0, 5)
    wire.send(b"bytes")
    assert wire.answer().status == 204
    with service.connect() as connection:  # what a kill between the last byte and the finish leaves
        connection.execute("UPDATE uploads_upload SET length = 5 WHERE id = %s", [slot.rsplit("/", 1)[1]])

    assert head(service, slot).offset == 5

    assert_whole(service, slot, b"bytes")


def test_a_stop_ends_within_seconds_and_keeps_what_arrived(database_url: str, tmp_path: Path):
    drain = tmp_path / "drain"
    with Service(database_url, tmp_path / "var", DRAIN_FILE=str(drain)) as service:
        slot = service.open_slot()
        wire = begin(service, slot, 0, len(CONTENT))
        wire.send(CONTENT[:3_000_000])
        wait_until(lambda: service.row(slot)["offset"] == 3_000_000, seconds=20)
        wire.send(CONTENT[3_000_000:3_000_500])
        drain.touch()  # as the supervisor does
        service.stop()

        answer = wire.answer()
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        drain.unlink()
        service.start()
        assert head(service, slot).offset == 3_000_500
        resume(service, slot)
        assert_whole(service, slot)


# --- Two writers


def test_a_new_request_gets_past_a_connection_that_is_half_open(service: Service):
    slot = service.open_slot()
    silent = begin(service, slot, 0, len(CONTENT))
    silent.send(CONTENT[:2_500_000])
    wait_until(lambda: int(str(service.row(slot)["offset"])) > 0, seconds=20)

    resume(service, slot)

    assert_whole(service, slot)
    assert silent.answer().status == 423


def test_head_counts_what_has_arrived_of_a_request_that_still_runs(service: Service):
    slot = service.open_slot()
    wire = begin(service, slot, 0, 100)
    wire.send(b"x" * 40)
    wait_until(lambda: head(service, slot).offset == 40, seconds=10)
    wire.send(b"y" * 60)

    assert (wire.answer().status, head(service, slot).offset) == (204, 100)


def test_a_request_at_another_service_gets_the_upload_too(service: Service):
    slot = service.open_slot()
    silent = begin(service, slot, 0, len(CONTENT))
    silent.send(CONTENT[:2_500_000])
    wait_until(lambda: service.row(slot)["offset"] == 2_500_000, seconds=20)
    with Service(service.database_url, service.var_dir) as other:
        resume(other, slot)

        assert_whole(other, slot)
    assert silent.answer().status == 423


def test_of_two_writers_at_once_each_byte_is_written_once(service: Service):
    slot = service.open_slot()
    answers: list[int] = []

    def write(piece: bytes) -> None:
        wire = begin(service, slot, 0, len(piece), Upload_Length=str(len(CONTENT)))
        wire.send(piece)
        answers.append(wire.answer().status)

    writers = [threading.Thread(target=write, args=(CONTENT,)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert set(answers) <= {204, 409, 413, 423}
    if service.row(slot)["finished_at"] is None:
        resume(service, slot)
    assert_whole(service, slot)


def test_a_frozen_holder_blocks_for_seconds_and_then_writes_nothing_more(database_url: str, tmp_path: Path):
    quick = {"UPLOAD_LEASE_SECONDS": "2", "UPLOAD_YIELD_SECONDS": "0.5"}
    with (
        Service(database_url, tmp_path / "var", **quick) as frozen,
        Service(database_url, tmp_path / "var", **quick) as other,
    ):
        slot = frozen.open_slot()
        wire = begin(frozen, slot, 0, len(CONTENT))
        wire.send(CONTENT[:2_000_000])
        wait_until(lambda: frozen.row(slot)["offset"] == 2_000_000, seconds=20)
        process = psutil.Process(frozen.process.pid)
        process.suspend()
        wire.socket.settimeout(1)
        try:
            wire.send(b"WRONG" * 20_000)

            blocked = begin(other, slot, 2_000_000, len(CONTENT) - 2_000_000)
            assert blocked.answer().status == 423
            wait_until(lambda: _is_free(other, slot), seconds=20)
            resume(other, slot)
        finally:
            process.resume()

        wire.socket.settimeout(20)
        assert wire.answer().status in {423, 413, 409}
        assert_whole(other, slot)


def _is_free(service: Service, address: str) -> bool:
    with service.connect() as connection:
        found = connection.execute(
            "SELECT hold_expires_at < now() FROM uploads_upload WHERE id = %s", [address.rsplit("/", 1)[1]]
        ).fetchone()
    return bool(found and found[0])


def test_a_request_that_falls_silent_is_closed_and_its_bytes_are_kept(database_url: str, tmp_path: Path):
    with Service(database_url, tmp_path / "var", UPLOAD_IDLE_SECONDS="1.5") as service:
        slot = service.open_slot()
        wire = begin(service, slot, 0, 100)
        wire.send(b"x" * 40)

        assert wire.answer().status == 408
        assert wire.socket.recv(1) == b""  # closed
        assert service.row(slot)["offset"] == 40
        assert service.row(slot)["hold_token"] is None


# --- Disk and database


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit (util-linux) is not installed")
def test_a_full_disk_is_said_and_what_was_written_is_kept(database_url: str, tmp_path: Path):
    with Service(database_url, tmp_path / "var", wrapper=("prlimit", "--fsize=5000000")) as service:
        slot = service.open_slot()
        answer = requests.patch(slot, data=CONTENT, headers=TUS | OCTETS | {"Upload-Offset": "0"}, timeout=60)

        assert answer.status_code == 507
        assert answer.json()["error_code"] == "store_full"
        assert "5000000 bytes" in answer.json()["detail"]
        assert head(service, slot).offset == 5_000_000
        service.kill()
        service.wrapper = ()
        service.start()

        resume(service, slot)
        assert_whole(service, slot)


def test_an_upload_that_the_disk_cannot_hold_is_refused_before_its_first_byte(service: Service):
    most = shutil.disk_usage(service.var_dir).free
    slot = service.open_slot(max_size=2 * most)

    answer = requests.post(slot, headers=TUS | {"Upload-Length": str(most)}, timeout=30)

    assert answer.status_code == 507


def test_a_store_that_is_away_is_said_and_comes_back(service: Service):
    slot = service.open_slot()
    media = service.var_dir / "media"
    shutil.rmtree(media, ignore_errors=True)
    media.write_text("not a folder")

    answer = requests.patch(slot, data=CONTENT, headers=TUS | OCTETS | {"Upload-Offset": "0"}, timeout=60)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    media.unlink()
    resume(service, slot)
    assert_whole(service, slot)


def test_a_database_that_is_away_is_said_and_comes_back(service: Service):
    slot = service.open_slot()
    name = service.database_url.rsplit("/", 1)[1]
    elsewhere = service.database_url.rsplit("/", 1)[0] + "/postgres"

    def allow(is_allowed: bool) -> None:
        with psycopg.connect(elsewhere, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {is_allowed}")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    wire = begin(service, slot, 0, len(CONTENT))
    wire.send(CONTENT[:2_000_000])
    wait_until(lambda: service.row(slot)["offset"] == 2_000_000, seconds=20)
    allow(False)
    try:
        wire.send(CONTENT[2_000_000:])
        answer = wire.answer()
        assert answer.status == 503, answer
        assert int(answer.headers["retry-after"]) > 0
    finally:
        allow(True)

    def comes_back() -> Any:
        return head(service, slot).status == 200

    wait_until(comes_back, seconds=60)
    wait_until(lambda: _is_free(service, slot) or service.row(slot)["hold_token"] is None, seconds=60)
    resume(service, slot)
    assert_whole(service, slot)


def test_a_service_without_open_uploads_stops_at_once(service: Service):
    started = time.monotonic()
    service.process.send_signal(signal.SIGTERM)

    assert service.process.wait(timeout=30) in {0, -signal.SIGTERM}
    assert time.monotonic() - started < 10

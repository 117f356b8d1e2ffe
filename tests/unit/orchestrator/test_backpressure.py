"""Slow and vanished readers at a real daphne."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.workbench.flood import SIZE
from tests.workbench.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[3]
# What kernels keep for a connection on both sides, generously.
BUFFERS = 32 * 1024 * 1024


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    command = [sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(number)]
    server = subprocess.Popen([*command, "tests.workbench.flood:application"], cwd=PROJECT)
    try:
        wait_until(lambda: _answers(number), what="daphne")
        yield number
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def state(port: int) -> tuple[int, int]:
    """Ask how many bytes were sent, and how many floods have ended."""
    with urlopen(f"http://127.0.0.1:{port}/state") as reply:
        sent, ended = reply.read().split()
    return int(sent), int(ended)


def reader(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET /flood HTTP/1.0\r\nHost: x\r\n\r\n")
    return connection


def standstill(port: int) -> int:
    """Wait until forty answers in a row find the same number of bytes sent; returns it."""
    seen: list[int] = []

    def stands() -> bool:
        seen.append(state(port)[0])
        return seen[-1] > 0 and len(seen) >= 40 and len(set(seen[-40:])) == 1

    wait_until(stands, what="the flood to stand still")
    return seen[-1]


def test_what_a_slow_reader_does_not_take_is_not_sent_and_all_of_it_comes_in_the_end(port):
    with reader(port) as connection:
        assert standstill(port) < BUFFERS

        received = 0
        while piece := connection.recv(1024 * 1024):
            received += len(piece)

    assert received > SIZE  # and the head of the reply
    assert state(port)[1] == 1


def test_a_reader_that_vanishes_leaves_nobody_waiting(port):
    with reader(port):
        standstill(port)

    wait_until(lambda: state(port)[1] == 1, what="the reply to a vanished reader to end")

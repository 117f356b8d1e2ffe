"""A gigabyte leaves by a signed link through the real web process, whose memory is watched meanwhile."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from django.conf import settings
from django.test import RequestFactory

from tests.workbench.web import web
from uploads import links, storage

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.django_db]

N_BYTES = 2**30
MARKS = {0: b"first", 700_000_000: b"somewhere", N_BYTES - 4: b"last"}
MOST_GROWTH_BYTES = 32 * 2**20
KEY = "surveys/1/cloud.laz"
PIECE_BYTES = 2**20


@pytest.fixture(scope="module", autouse=True)
def _gigabyte() -> Iterator[None]:
    """Store a file with holes: it costs no disk."""
    path = Path(settings.MEDIA_ROOT) / KEY
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for position, mark in MARKS.items():
            file.seek(position)
            file.write(mark)
    assert storage.size(KEY) == N_BYTES
    yield
    path.unlink()


@pytest.fixture(scope="module")
def port(django_db_setup: None) -> Iterator[int]:
    with web() as port:
        yield port


@pytest.fixture(scope="module")
def server(port: int) -> psutil.Process:
    (process,) = [
        child for child in psutil.Process().children() if "daphne" in child.cmdline() and str(port) in child.cmdline()
    ]
    return process


@contextmanager
def asked(port: int, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """Ask for the file by a new link."""
    link = urlsplit(links.signed_url(KEY, "cloud.laz", RequestFactory().get("/")))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", link.path, headers=headers)
        yield connection.getresponse()
    finally:
        connection.close()


def part(port: int, start: int, n_bytes: int) -> bytes:
    with asked(port, Range=f"bytes={start}-{start + n_bytes - 1}") as response:
        assert (response.status, response.headers["Content-Range"]) == (
            206,
            f"bytes {start}-{start + n_bytes - 1}/{N_BYTES}",
        )
        return response.read()


class Watch:
    """Notes the largest memory of a process while something happens."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.before = self.most = process.memory_info().rss

    def _look(self) -> None:
        while not self._is_over.wait(0.02):
            self.most = max(self.most, self._process.memory_info().rss)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def growth_bytes(self) -> int:
        return self.most - self.before


def test_a_gigabyte_leaves_whole_and_takes_no_memory(port, server):
    part(port, 0, PIECE_BYTES)  # what a first request loads is no matter of size
    n_bytes, first, last = 0, b"", b""

    with Watch(server) as watch, asked(port) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, str(N_BYTES))
        while piece := response.read(PIECE_BYTES):
            n_bytes += len(piece)
            first, last = first or piece[:5], piece[-4:]

    assert (n_bytes, first, last) == (N_BYTES, b"first", b"last")
    assert watch.growth_bytes < MOST_GROWTH_BYTES


def test_a_reader_that_stalls_keeps_nothing_waiting_in_memory(port, server):
    """The web process goes on with others, and fetches no more of the file than the reader's connection takes."""
    part(port, 0, PIECE_BYTES)

    with Watch(server) as watch, asked(port) as stalled:
        stalled.read(PIECE_BYTES)
        for number in range(100):
            assert len(part(port, number * PIECE_BYTES, 64)) == 64
        assert stalled.read(PIECE_BYTES) == bytes(PIECE_BYTES)

    assert watch.growth_bytes < MOST_GROWTH_BYTES


@pytest.mark.parametrize(("position", "mark"), MARKS.items())
def test_a_range_is_found_without_reading_what_stands_before_it(port, position, mark):
    assert part(port, position, len(mark)) == mark


def test_a_range_beyond_the_end_is_refused_with_the_size(port):
    with asked(port, Range=f"bytes={N_BYTES}-") as response:
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{N_BYTES}")

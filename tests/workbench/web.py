"""A web process for tests: Daphne with the real application, on a free port, beside the database of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from django.conf import settings
from django.db import connection

from tests.faults.desk import free_port

PROJECT = Path(__file__).resolve().parents[2]


def database_url() -> str:
    """Name the database that the tests use; settings name the one beside which it was made."""
    return settings.DATABASE_URL.rpartition("/")[0] + "/" + str(connection.settings_dict["NAME"])


@contextmanager
def web(*, relay: bool = False, **variables: str) -> Iterator[int]:
    """Run a web process and lend its port.

    relay: also with its background threads, which take what a flush between two tests wants to truncate.
    """
    port = free_port()
    # Only a program that is called daphne is a web process of the desk (settings.IN_WEB).
    program = [str(Path(sys.executable).with_name("daphne"))] if relay else ["-m", "daphne"]
    environment = os.environ | {"DATABASE_URL": database_url(), "PORT": str(port), **variables}
    address = ["-b", "127.0.0.1", "-p", str(port), "-v", "0"]
    server = subprocess.Popen(
        [sys.executable, *program, *address, "orchestrator.asgi:application"], cwd=PROJECT, env=environment
    )
    try:
        _await(port, server)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/health/live", timeout=5):
                return
        except OSError:
            assert server.poll() is None, "the web process ended"
            assert time.monotonic() < ends_at, "the web process never answered"
            time.sleep(0.05)

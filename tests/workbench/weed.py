"""An S3 store of a test's own, as the desk itself brings one, on a free port."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Self

from orchestrator import weed
from orchestrator.weed import ACCESS_KEY
from tests.workbench.tus import free_port

SECRET_KEY = "desk-secret-key"
program = weed.program

__all__ = ["ACCESS_KEY", "SECRET_KEY", "Weed", "program"]


class Weed(weed.Weed):
    """One store. Killing and starting it keeps what it holds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, port=free_port(), secret_key=SECRET_KEY)

    @property
    def variables(self) -> dict[str, str]:
        """What a desk is told to use it."""
        return {"MINIO_ENDPOINT": self.endpoint, "MINIO_ACCESS_KEY": ACCESS_KEY, "MINIO_SECRET_KEY": SECRET_KEY}

    def kill(self) -> None:
        self._send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def freeze(self) -> None:
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, sign: signal.Signals) -> None:
        assert self.pid is not None
        os.killpg(self.pid, sign)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop(patience_seconds=0)

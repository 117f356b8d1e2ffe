"""The file system that the desk stores on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Self

from django.conf import settings

_LEAST_FREE_BYTES = 2 * 1024**3
_LEAST_FREE_SHARE = 0.05


@dataclass(frozen=True)
class Disk:
    """Its room in bytes."""

    used: int
    total: int
    free: int

    @classmethod
    def look(cls) -> Self:
        usage = shutil.disk_usage(settings.VAR_DIR)
        return cls(usage.used, usage.total, usage.free)

    @property
    def share(self) -> float:
        return self.used / self.total

    @property
    def is_nearly_full(self) -> bool:
        return self.free < max(_LEAST_FREE_BYTES, _LEAST_FREE_SHARE * self.total)

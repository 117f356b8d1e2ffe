"""How many threads native code may use."""

from __future__ import annotations

import os


def n_threads() -> int:
    """Return what the child process was allowed (it passes --threads on to OpenMP), else the cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)

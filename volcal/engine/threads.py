"""Threads of native code: how many it may use, and two clouds worked on at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def n_threads() -> int:
    """Return what the child process was allowed (it passes --threads on to OpenMP), else the cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def at_once(work: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """Do the same with each item, beside each other: sorting, trees and triangles let go of the interpreter."""
    with ThreadPoolExecutor(n_threads()) as pool:
        return list(pool.map(work, items))

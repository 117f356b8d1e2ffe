"""Blocking work of the upload service, each kind on threads of its own.

A slow disk must not hold up the leases, and a long read at the end of one upload must not hold up either.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")

N_DATABASE = 4
N_SLOW = 4
_database = ThreadPoolExecutor(N_DATABASE, "database")
_disk = ThreadPoolExecutor(8, "disk")
_slow = ThreadPoolExecutor(N_SLOW, "slow")


async def in_database(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do short work on rows."""
    return await _run(_database, partial(_with_connection, partial(work, *args, **kwargs)))


async def on_disk(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Write or sync bytes; no rows."""
    return await _run(_disk, partial(work, *args, **kwargs))


async def slowly(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what may take long: completing, reading, copying or deleting whole files, with their rows."""
    return await _run(_slow, partial(_with_connection, partial(work, *args, **kwargs)))


async def _run(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    context = contextvars.copy_context()  # the request's id goes along into the log
    # A request that is cancelled must not leave work behind that nobody waits for: it holds a file and a lease.
    future = asyncio.get_running_loop().run_in_executor(threads, partial(context.run, work))
    return await asyncio.shield(future)


def _with_connection(work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        connection.close()  # back to the pool

"""Let processes die with the one that started them (Linux: PR_SET_PDEATHSIG).

The signal is sent when the *thread* that started a process ends, so children are started from the main thread.
"""

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int, *, by: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn` that binds the new process to its parent's life.

    parent: process id of the starter, to see that it did not die in between.
    """

    def bind() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(by), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), by)

    return bind


def bind_every_fork() -> None:
    """Make each process that this one forks, and theirs, die at once with its parent.

    Django-Q forks a sentinel and the sentinel forks workers; without this, killing the first leaves the others working
    (measured: five of six lived on and took tasks).
    """
    parents: list[int] = []
    os.register_at_fork(
        before=lambda: parents.append(os.getpid()),
        after_in_parent=parents.pop,
        after_in_child=lambda: die_with(parents.pop(), by=signal.SIGKILL)(),
    )


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none is lost to process 1."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

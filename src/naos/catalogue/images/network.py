"""Fetching through another network namespace than the controller's own.

A controller often lives in a management network without a way to the world's mirrors; then images come in through a
namespace that has one. On Linux a thread may visit a namespace and come back; its sockets stay where they were made.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OWN = Path("/proc/thread-self/ns/net")
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of <sched.h>
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def visiting(namespace: Path | None) -> Iterator[None]:
    """What this thread connects to in here, it reaches through `namespace` (a file of it); None: its own.

    Raises OSError when there is no such namespace, or without the right to enter it.
    """
    if namespace is None:
        yield
        return
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _NEW_NETWORK) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")

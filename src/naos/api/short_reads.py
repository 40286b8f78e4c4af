"""Where a read of a few rows by their keys is done.

Handing one to another thread and back costs more than such a read of a file of this machine; a server's database, which
answers over a network, is waited for in a thread, so that other calls go on meanwhile.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from naos.database import Database

P = ParamSpec("P")
T = TypeVar("T")


async def shortly(database: Database, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `read` answers. It takes no lock, sends nothing, and reads the same few rows however many there are."""
    if database.is_sqlite:
        return read(*args, **kwargs)
    return await run_in_threadpool(read, *args, **kwargs)

"""How many SQL statements a request costs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

OF_REQUESTS = ("AnyIO worker", "asyncio-portal")
"""How the threads that answer requests are called: the controller's watches ask the same tables from threads of their own."""


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """The statements that requests execute inside the block."""
    found: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if threading.current_thread().name.startswith(OF_REQUESTS):
            found.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)

"""A bar for work of this process whose share is known, e.g. an upload."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from naos.cli.output import plain, terminal


@contextmanager
def shares(title: str) -> Iterator[Callable[[float], None]]:
    """What is yielded takes the share done, 0 to 1. Standard error shows it where that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal(stderr=True), transient=True) as progress:
        task = progress.add_task(plain(title), total=1.0)
        yield lambda share: progress.update(task, completed=share)

"""Small files that must survive a power cut at any moment, and locks on them."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """The file holds all of `text`, or what it held before, whatever happens. Unchanged content is not written again."""
    with contextlib.suppress(OSError):
        if file.read_text(encoding="utf-8") == text:
            return
    new = file.with_name(f"{file.name}.new")
    with new.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock against every other process and thread. It ends with the block, or with the process.

    Raises FileNotFoundError when the folder is not there. A lock file that was removed while waiting is not held: its
    successor is.
    """
    while True:
        with file.open("a", encoding="ascii") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _names(file, handle.fileno()):
                yield
                return


def is_locked(file: Path) -> bool:
    """Whether somebody holds the lock at this moment."""
    try:
        with file.open("r", encoding="ascii") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _names(file: Path, handle: int) -> bool:
    try:
        return file.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False

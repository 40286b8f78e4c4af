"""Reading files and hashing what is in them, in several threads: both leave Python's lock to the others."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from naos.engines.points.onhost.sums import BLOCK, Pace, digest

PIECE = 16 * BLOCK
"""Bytes of one read: still in the processor's cache when they are hashed."""
THREADS = min(4, os.cpu_count() or 1)


class Piece(NamedTuple):
    """Blocks that lie in one piece of an open file, from the number `first` on. The last one may be short."""

    file: int
    offset: int
    length: int
    first: int


def pieces(file: int, offset: int, length: int, first: int) -> Iterator[Piece]:
    """Of data that lie in one stretch of an open file; they are the blocks from the number `first` on."""
    for done in range(0, length, PIECE):
        yield Piece(file, offset + done, min(PIECE, length - done), first + done // BLOCK)


@contextlib.contextmanager
def beside(call: Callable[[str], None], path: str) -> Iterator[None]:
    """`call(path)` in a thread of its own while what is inside is done. Raises what either raises."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            call(path)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


def digests(wanted: Iterable[Piece], pace: Pace, take: Callable[[int, list[bytes]], None]) -> None:
    """Give `take` the number of every piece's first block and its blocks' digests: in any order, one call at a time.

    Raises OSError, and what `take` raises.
    """
    source, turn = iter(wanted), threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        buffer = bytearray(PIECE)
        try:
            while not failures:
                with turn:
                    piece = next(source, None)
                if piece is None:
                    return
                found = of(piece, memoryview(buffer))
                with turn:
                    take(piece.first, found)
                pace.add(piece.length)
        except BaseException as error:
            failures.append(error)

    others = [threading.Thread(target=work) for _ in range(THREADS - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]


def of(piece: Piece, buffer: memoryview | None = None) -> list[bytes]:
    """The digests of a piece's blocks. A last cluster may be written only as far as the disk goes: beyond the file's end are zeroes."""
    buffer = memoryview(bytearray(piece.length)) if buffer is None else buffer
    done = 0
    while done < piece.length:
        count = os.preadv(piece.file, [buffer[done : piece.length]], piece.offset + done)
        if not count:
            buffer[done : piece.length] = bytes(piece.length - done)
            break
        done += count
    return [digest(buffer[at : min(at + BLOCK, piece.length)]) for at in range(0, piece.length, BLOCK)]

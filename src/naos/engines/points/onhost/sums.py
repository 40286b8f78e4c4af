"""Checksums of a disk in blocks of 64 KiB: in memory as a table, on disk as sorted runs with a checksum of their own.

A block is known by its digest, known to be zeroes, or unknown (nothing was ever written there: it reads as zeroes too).
"""

import os
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

BLOCK = 65536
WIDTH = 16  # bytes of a digest
UNKNOWN, ZEROES = bytes(WIDTH), b"\xff" * WIDTH
_MAGIC = b"naos sums 1\n"
_RUN = struct.Struct(">QI16s")  # first block, how many, their digest: more than one only of zeroes
_LONGEST = 2**32 - 1
_NOTHING = bytes(BLOCK)
_STRETCH = 1024  # blocks
_UNKNOWN_STRETCH = UNKNOWN * _STRETCH


def sha256(data: bytes | memoryview) -> Any:
    """With a late import: most calls of a store are short, and do without."""
    import hashlib

    return hashlib.sha256(data)


class Damaged(Exception):
    """A file of checksums that does not hold what was written to it."""


def digest(data: bytes | memoryview) -> bytes:
    """Of one block; of zeroes it is ZEROES."""
    if not data[0] and bytes(data) == _NOTHING[: len(data)]:
        return ZEROES
    found: bytes = sha256(data).digest()[:WIDTH]
    return found


class Pace:
    """Keeps reading, in however many threads, to so many bytes a second; None is no limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit, self._began, self.done = limit, time.monotonic(), 0
        self._turn = threading.Lock()

    def add(self, count: int) -> None:
        with self._turn:
            self.done += count
        if self._limit:
            ahead = self.done / self._limit - (time.monotonic() - self._began)
            if ahead > 0.01:
                time.sleep(ahead)


class Table:
    """One digest a block of a disk of `size` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.blocks = -(-size // BLOCK)
        self._digests = bytearray(self.blocks * WIDTH)

    def get(self, block: int) -> bytes:
        return bytes(self._digests[block * WIDTH : (block + 1) * WIDTH])

    def put(self, block: int, value: bytes, count: int = 1) -> None:
        """Blocks beyond the disk's end are left out: it was larger once."""
        count = min(count, self.blocks - block)
        if count > 0:
            self._digests[block * WIDTH : (block + count) * WIDTH] = value * count

    def lay(self, first: int, values: list[bytes]) -> None:
        """One digest a block from the number `first` on."""
        known = b"".join(values[: max(0, self.blocks - first)])
        self._digests[first * WIDTH : first * WIDTH + len(known)] = known

    def runs(self) -> Iterator[tuple[int, int, bytes]]:
        """First block, how many, digest; without the unknown ones."""
        block = 0
        while (block := self._known(block)) < self.blocks:
            value = self.get(block)
            first = block
            block += 1
            while value == ZEROES and block < self.blocks and self.get(block) == ZEROES and block - first < _LONGEST:
                block += 1
            yield first, block - first, value

    def _known(self, block: int) -> int:
        """The first block from this one on of which something is known; how many there are when there is none. Most of a large disk is
        unknown to an increment: whole stretches are looked at at once."""
        while block < self.blocks:
            if self.get(block) != UNKNOWN:
                return block
            end = min(block + _STRETCH, self.blocks)
            if self._digests.startswith(_UNKNOWN_STRETCH[: (end - block) * WIDTH], block * WIDTH):
                block = end
            else:
                block += 1
        return self.blocks

    def read(self, path: str) -> None:
        """Lay a file's checksums over what is there. Raises Damaged."""
        with open(path, "rb") as file:
            head = file.read(len(_MAGIC))
            seen = sha256(head)
            left = os.fstat(file.fileno()).st_size - len(_MAGIC) - seen.digest_size
            if head != _MAGIC or left < 0 or left % _RUN.size:
                raise Damaged(f"{path} is no whole file of checksums")
            while left:
                piece = file.read(min(left, _RUN.size * 4096))
                if not piece or len(piece) % _RUN.size:
                    raise Damaged(f"{path} ends early")
                seen.update(piece)
                left -= len(piece)
                for block, count, value in _RUN.iter_unpack(piece):
                    self.put(block, value, count)
            if file.read() != seen.digest():
                raise Damaged(f"{path} was changed since it was written")

    def write(self, path: str) -> None:
        """To a new file, safe when this returns."""
        with open(path, "wb") as file:
            seen = sha256(_MAGIC)
            file.write(_MAGIC)
            pieces: list[bytes] = []
            for run in self.runs():
                pieces.append(_RUN.pack(*run))
                if len(pieces) == 4096:
                    piece = b"".join(pieces)
                    seen.update(piece)
                    file.write(piece)
                    pieces.clear()
            piece = b"".join(pieces)
            seen.update(piece)
            file.write(piece + seen.digest())
            file.flush()
            os.fsync(file.fileno())

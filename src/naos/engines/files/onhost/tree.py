"""What a file system is to those who read one: nodes, names in folders, and the pieces of a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"
PIECE = 2**20  # bytes of a file that are in memory at a time
MOST_ENTRIES = 5_000_000  # of one folder
_KINDS = {0x8: FILE, 0x4: FOLDER, 0xA: LINK}
_TYPES = {0x1: "a named pipe", 0x2: "a character device", 0x6: "a block device", 0xC: "a socket"}


@dataclass(frozen=True, slots=True)
class Node:
    """key: what its file system knows it by. mtime: seconds since 1970, with a fraction. mode: permission bits. links: names that it has.
    note: for OTHER, what it is."""

    key: Any
    kind: str
    size: int
    mtime: float
    mode: int
    links: int = 1
    uid: int = 0
    gid: int = 0
    note: str = ""


class FileSystem(Protocol):
    kind: str
    label: str
    note: str

    def root(self) -> Any:
        """The key of the root folder."""

    def node(self, key: Any) -> Node: ...
    def entries(self, key: Any) -> Iterator[tuple[bytes, Any]]:
        """Names and keys of a folder, in any order, without . and .."""

    def pieces(self, key: Any) -> Iterator[tuple[int, bytes | None]]:
        """A file from its begin to its end: lengths, and bytes, or None for a hole of that length (of any size)."""

    def target(self, key: Any) -> bytes:
        """Where a symbolic link leads."""


def kind_of(mode: int) -> tuple[str, str]:
    """Kind and note of a Unix file mode."""
    kind = _KINDS.get(mode >> 12)
    return (kind, "") if kind is not None else (OTHER, _TYPES.get(mode >> 12, "of an unknown kind"))


def cut(runs: Iterator[tuple[int, int | None]], size: int) -> Iterator[tuple[int, int | None]]:
    """Runs (lengths and places) of a file, ended at its size, and a hole where they end before it."""
    left = size
    for length, place in runs:
        if left <= 0:
            return
        yield min(length, left), place
        left -= length
    if left > 0:
        yield left, None


def laid(extents: Iterator[tuple[int, int, int | None]]) -> Iterator[tuple[int, int | None]]:
    """Runs of extents in order (where in the file, length, place): what lies between them are holes. One that begins before the end of the one
    before it is cut."""
    at = 0
    for start, length, place in extents:
        if start > at:
            yield start - at, None
            at = start
        over = at - start
        if length > over:
            yield length - over, None if place is None else place + over
            at += length - over


def read(disk: Any, runs: Iterator[tuple[int, int | None]]) -> Iterator[tuple[int, bytes | None]]:
    """The pieces of runs whose places are on the disk."""
    for length, place in runs:
        if place is None:
            yield length, None
            continue
        done = 0
        while done < length:
            step = min(length - done, PIECE)
            yield step, disk.read(place + done, step)
            done += step


def whole(pieces: Iterator[tuple[int, bytes | None]], limit: int) -> bytes:
    """Pieces in memory; not more than `limit` bytes of them."""
    parts, total = [], 0
    for length, data in pieces:
        length = min(length, limit - total)  # noqa: PLW2901 - what there is room for
        parts.append(bytes(length) if data is None else data[:length])
        total += length
        if total >= limit:
            break
    return b"".join(parts)

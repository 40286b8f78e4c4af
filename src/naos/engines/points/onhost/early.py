"""Checksums of what a session has received, computed while the rest is on its way, and what arrived brought to the medium meanwhile.

A process beside the session's daemon, which ends with it. It reads the tables of the images as the daemon writes them: QEMU lets a table
speak of a block only once the block's data are written, and a copy writes each block once. So what is read where a table says is what
will lie there in the end. What is found is used for nothing but blocks that lie, when the image is sealed, where they lay then. It is not
used where blocks can have been written again: of an image that goes on from an earlier session, and once a second copy has asked for the
session's doors (`HostPointStore.doors` removes the files then).
"""

import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from naos.engines.points.onhost import hashing, mapping
from naos.engines.points.onhost.sums import BLOCK, WIDTH

LOST = "lost"
"""Of a session's folder: a file that is there when something could not be brought to the medium. The kernel tells only the first who asks."""
CACHE = {"l2-cache-size": 8192, "l2-cache-entry-size": 4096}
"""Of a receiving daemon: parts of tables, of 32 MiB of the disk each. It writes one when a third is needed, rather than at the end."""
_ENTRY = struct.Struct(f">Q{WIDTH}s")  # where a block lay, and its digest; in the file at the block's number
_AT_ONCE = 4096  # entries
_LOOKS, _WRITES = 0.1, 0.3  # seconds between them
_SHARE = 20  # a look at the tables takes at most one part in so many of the time
_NICENESS = 5


def start(folder: str, parts: Sequence[tuple[str, str | None]]) -> None:
    """Begin, in a process that goes on after this one. parts: an image, and the new file that takes its checksums, None where none are
    wanted."""
    if os.fork():
        return
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for handle in range(3):
            os.dup2(nothing, handle)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the locks of the call that this was begun in, too
        os.nice(_NICENESS)
        _work(folder, parts)
    finally:
        os._exit(0)


class Known:
    """What was found of an image by now; nobody adds to it any more."""

    def __init__(self, path: str) -> None:
        try:
            self._file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            self._file = -1
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def of(self, extent: mapping.Extent) -> Iterator[tuple[int, bytes | None]]:
        """Of every block of an extent of data, its digest, None where it is not known as it lies there."""
        blocks = -(-extent.length // BLOCK)
        for done in range(0, blocks, _AT_ONCE):
            first, count = extent.first + done, min(_AT_ONCE, blocks - done)
            data = os.pread(self._file, count * _ENTRY.size, first * _ENTRY.size) if self._file >= 0 else b""
            entries = _ENTRY.iter_unpack(data.ljust(count * _ENTRY.size, b"\0"))
            for block, (offset, digest) in enumerate(entries, first):
                lies = (extent.offset or 0) + (block - extent.first) * BLOCK
                yield block, digest if offset == lies else None

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)


def _work(folder: str, parts: Sequence[tuple[str, str | None]]) -> None:
    with open(f"{folder}/pid", encoding="ascii") as file:
        daemon = int(file.read())
    images = [os.open(path, os.O_RDONLY) for path, _ in parts]
    thread = threading.Thread(target=_bring, args=(folder, daemon, images), daemon=True)
    thread.start()
    looks = [_Look(image, kept) for image, (_, kept) in zip(images, parts, strict=True) if kept is not None]
    wait = _LOOKS
    while _lives(folder, daemon):
        time.sleep(wait)
        wait = max(_LOOKS, _SHARE * sum(look.go_on(lambda: _lives(folder, daemon)) for look in looks))
    thread.join()


def _lives(folder: str, daemon: int) -> bool:
    try:
        os.kill(daemon, 0)
    except OSError:
        return False
    return os.path.exists(f"{folder}/pid")


def _bring(folder: str, daemon: int, images: Sequence[int]) -> None:
    while _lives(folder, daemon):
        time.sleep(_WRITES)
        for image in images:
            try:
                os.fdatasync(image)
            except OSError:
                with open(f"{folder}/{LOST}", "wb"):
                    pass


class _Look:
    """The search for what is new in an image."""

    def __init__(self, image: int, kept: str) -> None:
        self._image = image
        self._kept = os.open(kept, os.O_RDWR | os.O_CREAT, 0o600)
        self._seen = bytearray()

    def go_on(self, wanted: Callable[[], bool]) -> float:
        """Compute what is new as long as it is wanted; how many seconds the search took."""
        began = time.monotonic()
        try:
            found = list(self._new())
        except mapping.Strange:  # a table that is being written
            found = []
        took = time.monotonic() - began
        for piece in found:
            if not (wanted() and self._keep(piece, hashing.of(piece))):
                break
        return took

    def _new(self) -> Iterator[hashing.Piece]:
        for extent in mapping.own(self._image):
            if extent.offset is None:
                continue
            blocks = -(-extent.length // BLOCK)
            self._seen.extend(bytes(max(0, extent.first + blocks - len(self._seen))))
            for first, count in _stretches(self._seen, extent.first, blocks):
                done = (first - extent.first) * BLOCK
                length = min(count * BLOCK, extent.length - done)
                yield from hashing.pieces(self._image, extent.offset + done, length, first)

    def _keep(self, piece: hashing.Piece, digests: list[bytes]) -> bool:
        """False when the image is being sealed: what is not there by now comes too late."""
        entries = [_ENTRY.pack(piece.offset + number * BLOCK, digest) for number, digest in enumerate(digests)]
        try:
            fcntl.flock(self._kept, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        try:
            os.pwrite(self._kept, b"".join(entries), piece.first * _ENTRY.size)
        finally:
            fcntl.flock(self._kept, fcntl.LOCK_UN)
        self._seen[piece.first : piece.first + len(digests)] = b"\1" * len(digests)
        return True


def _stretches(seen: bytearray, first: int, count: int) -> Iterator[tuple[int, int]]:
    """Of `count` blocks from the number `first` on, those that were not seen: first, how many."""
    at, end = first, first + count
    while (at := seen.find(0, at, end)) >= 0:
        beyond = seen.find(1, at, end)
        beyond = end if beyond < 0 else beyond
        yield at, beyond - at
        at = beyond

"""The journal of ext3 and ext4: what a machine had promised to its disk and not yet put in its place when the point was taken."""

import struct
from collections.abc import Iterator

from naos.engines.files.onhost.disk import Damaged, Disk

_MAGIC = 0xC03B3998
_DESCRIPTOR, _COMMIT, _REVOKE = 1, 2, 5
_SAME_UUID, _ESCAPED, _LAST = 2, 1, 8
_WIDE, _CHECKSUM2, _CHECKSUM3 = 0x2, 0x8, 0x10
_MOST = 2**20  # blocks of a journal


class Overlaid:
    """A disk, some of whose blocks are others."""

    def __init__(self, disk: Disk, block: int, places: dict[int, tuple[int, bool]]) -> None:
        """places: by block, where on the disk it is instead, and whether its first bytes are the journal's mark."""
        self._disk, self._block, self._places, self.size = disk, block, places, disk.size

    def read(self, offset: int, size: int) -> bytes:
        first, last = offset // self._block, (offset + max(size, 1) - 1) // self._block
        if not any(number in self._places for number in range(first, last + 1)):
            return self._disk.read(offset, size)
        data = bytearray(self._disk.read(offset, size))
        for number in range(first, last + 1):
            found = self._places.get(number)
            if found is not None:
                block = self._disk.read(found[0], self._block)
                if found[1]:
                    block = struct.pack(">I", _MAGIC) + block[4:]
                at = number * self._block - offset
                start, end = max(at, 0), min(at + self._block, size)
                data[start:end] = block[start - at : end - at]
        return bytes(data)


def replayed(disk: Disk, runs: list[tuple[int, int | None]], block: int) -> Disk:
    """The disk as it is once its journal was played: only what was committed whole counts. runs: of the journal's file."""
    places = [
        place + at for length, place in runs if place is not None for at in range(0, length - length % block, block)
    ]
    if not places or len(places) > _MOST:
        raise Damaged("it has no blocks, or too many")
    head = disk.read(places[0], 1024)
    magic, kind, _, size, total, first, sequence, start = struct.unpack_from(">8I", head, 0)
    if magic != _MAGIC or kind not in (3, 4) or size != block:
        raise Damaged("its superblock is none")
    if not start:
        return disk
    total = min(total, len(places))
    if not first <= start < total:
        raise Damaged("it begins beyond its end")
    features = struct.unpack_from(">I", head, 40)[0] if kind == 4 else 0
    log = _Log(disk, block, places[:total], first, features)
    found, revoked = log.play(start, sequence)
    kept = {number: place for number, (at, *place) in found.items() if revoked.get(number, -1) < at}
    return Overlaid(disk, block, {number: (place[0], bool(place[1])) for number, place in kept.items()})


class _Log:
    def __init__(self, disk: Disk, block: int, places: list[int], first: int, features: int) -> None:
        self._disk, self._block, self._places, self._first, self._features = disk, block, places, first, features

    def play(self, start: int, sequence: int) -> tuple[dict[int, tuple[int, int, bool]], dict[int, int]]:
        """By block: the transaction's place in order, where it is, whether it was escaped; and by block when it was revoked last."""
        found: dict[int, tuple[int, int, bool]] = {}
        revoked: dict[int, int] = {}
        at, order, walked = start, 0, 0
        blocks: dict[int, tuple[int, int, bool]] = {}
        gone: dict[int, int] = {}
        while walked <= len(self._places):
            head = self._disk.read(self._places[at], self._block)
            magic, kind, number = struct.unpack_from(">III", head, 0)
            if magic != _MAGIC or number != (sequence + order) & 0xFFFFFFFF:
                break
            at, walked = self._next(at), walked + 1
            if kind == _DESCRIPTOR:
                for block, escaped in self._tags(head):
                    blocks[block] = (order, self._places[at], escaped)
                    at, walked = self._next(at), walked + 1
            elif kind == _REVOKE:
                gone.update(dict.fromkeys(self._revoked(head), order))
            elif kind == _COMMIT:
                found.update(blocks)
                revoked.update(gone)
                blocks, gone, order = {}, {}, order + 1
            else:
                break
        return found, revoked

    def _next(self, at: int) -> int:
        return at + 1 if at + 1 < len(self._places) else self._first

    def _tags(self, head: bytes) -> Iterator[tuple[int, bool]]:
        third, wide = bool(self._features & _CHECKSUM3), bool(self._features & _WIDE)
        width = 16 if third else (12 if wide else 8) + (2 if self._features & _CHECKSUM2 else 0)
        end = self._block - (4 if self._features & (_CHECKSUM2 | _CHECKSUM3) else 0)
        at = 12
        while at + width <= end:
            if third:
                low, flags, high = struct.unpack_from(">III", head, at)
            else:
                low, _, flags = struct.unpack_from(">IHH", head, at)
                high = struct.unpack_from(">I", head, at + 8)[0] if wide else 0
            yield low | (high << 32 if wide else 0), bool(flags & _ESCAPED)
            at += width + (0 if flags & _SAME_UUID else 16)
            if flags & _LAST:
                return

    def _revoked(self, head: bytes) -> Iterator[int]:
        width = 8 if self._features & _WIDE else 4
        end = min(struct.unpack_from(">I", head, 12)[0], self._block)
        for at in range(16, end - width + 1, width):
            yield struct.unpack_from(">Q" if width == 8 else ">I", head, at)[0]

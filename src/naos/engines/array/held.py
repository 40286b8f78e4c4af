"""Runs on the array's host, as ``python3 -c``, and needs nothing there but Python: how much of qcow2 images their snapshots hold.

A snapshot has tables of its own, which name the same clusters as the disk's as long as nothing was written to them. So what the two
tables name differently at a place is held for the snapshot's sake. A table that both share is the same for all its places, and not even
read: a look costs what was written since, not what the disks are large.

Nobody keeps the daemon from writing meanwhile, and what it has not flushed is not seen. What makes no sense is left out.
"""

import json
import struct
import sys
from array import array
from pathlib import Path
from typing import BinaryIO, TypeAlias

Table: TypeAlias = "array[int]"
"""Numbers of 64 bits."""
OFFSET = 0x00FFFFFFFFFFFE00
COMPRESSED, EXTENDED = 1 << 62, 1 << 4
NAMED = (1 << 63) - 2
"""Of an entry of the second level, without the marks for what has no other reference, and for what reads as zeroes."""
LARGEST = 64 * 2**20  # bytes of a table of the first level
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQ")  # up to the incompatible features of version 3
_SNAPSHOT = struct.Struct(">QIHHIIQII")


def words(image: BinaryIO, offset: int, count: int) -> Table:
    """So many numbers of 64 bits; fewer where the file ends."""
    image.seek(offset)
    read = image.read(count * 8)
    found = array("Q", read[: len(read) // 8 * 8])
    if sys.byteorder == "little":
        found.byteswap()
    return found


def states(image: BinaryIO) -> tuple[int, Table, list[tuple[str, Table]]]:
    """Bits of a cluster, the disk's table of the first level, and each snapshot's with its name, the oldest first.

    Raises ValueError for an image that is divided in another way.
    """
    found = _HEADER.unpack(image.read(_HEADER.size))
    magic, version, bits, l1_size, l1, snapshots, at, features = (found[index] for index in (0, 1, 4, 7, 8, 11, 12, 13))
    if magic != b"QFI\xfb" or not 9 <= bits <= 21 or (version >= 3 and features & EXTENDED):
        raise ValueError("no such image is read here")
    tables = []
    for _ in range(snapshots):
        image.seek(at)
        place, entries, id_size, name_size, _, _, _, _, extra = _SNAPSHOT.unpack(image.read(_SNAPSHOT.size))
        image.seek(at + _SNAPSHOT.size + extra + id_size)
        name = image.read(name_size).decode(errors="replace")
        at += (_SNAPSHOT.size + extra + id_size + name_size + 7) // 8 * 8
        tables.append((name, words(image, place, min(entries, LARGEST // 8))))
    return bits, words(image, l1, min(l1_size, LARGEST // 8)), tables


def held(image: BinaryIO) -> dict[str, int]:
    """Bytes by snapshot: each cluster that the disk names no more, at the newest snapshot that names it."""
    bits, disk, snapshots = states(image)
    found = {name: 0 for name, _ in snapshots}
    for index in range(max([len(table) for _, table in snapshots], default=0)):
        # tables of the second level by place, as what they name; they are read when they are needed
        newer: dict[int, set[int] | None] = {_at(disk, index): None}
        for name, table in reversed(snapshots):
            place = _at(table, index)
            if place and place not in newer:
                mine = _named(image, place, bits)
                newer.update({other: _named(image, other, bits) for other, named in newer.items() if named is None})
                only = mine.difference(*(named for named in newer.values() if named))
                packed = [entry for entry in only if entry & COMPRESSED]
                found[name] += (1 + len(only) - len(packed) << bits) + sum(_packed(entry, bits) for entry in packed)
                newer[place] = mine
    return found


def _at(table: Table, index: int) -> int:
    return int(table[index]) & OFFSET if index < len(table) else 0


def _named(image: BinaryIO, place: int, bits: int) -> set[int]:
    """What a table of the second level names. Nothing is named at two places of a disk, so the places need not be known."""
    found = {entry & NAMED for entry in words(image, place, (1 << bits) // 8)} if place else set[int]()
    found.discard(0)
    return found


def _packed(entry: int, bits: int) -> int:
    """Bytes of a compressed cluster: whole sectors."""
    return ((entry >> (70 - bits) & ((1 << (bits - 8)) - 1)) + 1) * 512


def main() -> None:
    found: dict[str, int] = {}
    for path in sys.argv[1:]:
        try:
            with Path(path).open("rb") as image:
                for name, size in held(image).items():
                    found[name] = found.get(name, 0) + size
        except (OSError, ValueError, struct.error, OverflowError):
            continue
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()

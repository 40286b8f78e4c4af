"""Partition tables: MBR with its chains of logical partitions, and GPT."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from naos.engines.files.onhost.disk import Damaged, Disk

_EXTENDED = (0x05, 0x0F, 0x85)
_MOST = 256  # partitions of one disk
_NOTHING = bytes(16)


@dataclass(frozen=True)
class Partition:
    number: int
    offset: int
    size: int
    name: str


def gpt(disk: Disk) -> list[Partition] | None:
    """None for a disk without one. The second copy is taken where the first is damaged. Raises Damaged when both are."""
    marked = False
    for sector in (512, 4096):
        for at in (sector, disk.size // sector * sector - sector):
            if at < sector or at + 512 > disk.size:
                continue
            head = disk.read(at, 512)
            if head[:8] != b"EFI PART":
                continue
            marked = True
            found = _entries(disk, head, sector)
            if found is not None:
                return found
    if marked:
        raise Damaged("neither copy of its partition table (GPT) is whole")
    return None


def _entries(disk: Disk, head: bytes, sector: int) -> list[Partition] | None:
    size, crc = struct.unpack_from("<II", head, 12)
    if not 92 <= size <= 512 or zlib.crc32(head[:16] + bytes(4) + head[20:size]) != crc:
        return None
    start, count, width, entries_crc = struct.unpack_from("<QIII", head, 72)
    if count > 4096 or not 128 <= width <= 4096 or start * sector + count * width > disk.size:
        return None
    data = disk.read(start * sector, count * width)
    if zlib.crc32(data) != entries_crc:
        return None
    found: list[Partition] = []
    for number in range(count):
        entry = data[number * width : (number + 1) * width]
        if entry[:16] == _NOTHING or len(found) >= _MOST:
            continue
        first, last = struct.unpack_from("<QQ", entry, 32)
        name = entry[56:128].decode("utf-16-le", "replace").split("\0")[0]
        if last >= first:
            found.append(Partition(number + 1, first * sector, (last - first + 1) * sector, name))
    return found


def mbr(disk: Disk) -> list[Partition] | None:
    """None for a disk without one."""
    if disk.size < 512:
        return None
    head = disk.read(0, 512)
    if head[510:512] != b"\x55\xaa" or any(head[446 + 16 * number] & 0x7F for number in range(4)):
        return None
    found: list[Partition] = []
    for number in range(4):
        kind, first, count = struct.unpack_from("<4xB3xII", head, 446 + 16 * number)
        if not kind or not count:
            continue
        if kind in _EXTENDED:
            found.extend(_logical(disk, first))
        else:
            found.append(Partition(number + 1, first * 512, count * 512, ""))
    return sorted(found, key=lambda partition: partition.number)


def _logical(disk: Disk, extended: int) -> Iterator[Partition]:
    """Each one's own small table names it and the next one."""
    at, number, seen = extended, 5, set()
    while number < _MOST and at not in seen and (at + 1) * 512 <= disk.size:
        seen.add(at)
        head = disk.read(at * 512, 512)
        if head[510:512] != b"\x55\xaa":
            return
        kind, first, count = struct.unpack_from("<4xB3xII", head, 446)
        after, link, _ = struct.unpack_from("<4xB3xII", head, 462)
        if kind and count:
            yield Partition(number, (at + first) * 512, count * 512, "")
            number += 1
        if after not in _EXTENDED:
            return
        at = extended + link

"""Disks as they are read: images of points, parts of a disk, and a memory of what was read last."""

import os
import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

_HEAD = struct.Struct(">4sIQIIQIIQQIIQQQQ")
_EXTERNAL, _EXTENDED = 0x4, 0x10  # features of an image that make its tables another's
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_TABLES = 512  # second-level tables kept in memory


class Damaged(Exception):
    """What was read makes no sense."""


class Unsupported(Exception):
    """It makes sense, and is not read here."""


class Disk(Protocol):
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Exactly so many bytes. Raises Damaged beyond the end."""


def check(disk: Disk, offset: int, size: int) -> None:
    if offset < 0 or size < 0 or offset + size > disk.size:
        raise Damaged(f"{size} bytes at {offset} lie beyond the end, which is at {disk.size}")


class _Layer:
    """One qcow2 file of a chain."""

    def __init__(self, handle: int) -> None:
        head = os.pread(handle, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            raise Damaged("an image of the point is too short")
        magic, version, _, _, bits, size, crypt, length, table, *_, features = _HEAD.unpack(head)[:13]
        if magic != b"QFI\xfb" or not 9 <= bits <= 21:
            raise Damaged("an image of the point is no qcow2")
        if crypt or (version >= 3 and features & (_EXTERNAL | _EXTENDED)):
            raise Unsupported("images that are encrypted, or keep their data elsewhere")
        self.handle, self.size, self.cluster = handle, size, 1 << bits
        self.width = self.cluster // 8
        self._first = struct.unpack(f">{length}Q", os.pread(handle, length * 8, table))

    def where(self, cluster: int, tables: "OrderedDict[tuple[int, int], tuple[int, ...]]") -> int | None:
        """Where a cluster's bytes are in the file; 0 for zeroes, None for what the image does not hold."""
        number, index = divmod(cluster, self.width)
        if number >= len(self._first):
            return None
        place = self._first[number] & _OFFSET
        if not place:
            return None
        found = tables.get((self.handle, number))
        if found is None:
            found = struct.unpack(f">{self.width}Q", os.pread(self.handle, self.cluster, place))
            tables[self.handle, number] = found
            if len(tables) > _TABLES:
                tables.popitem(last=False)
        entry = found[index]
        if entry & _COMPRESSED:
            raise Unsupported("compressed images")
        if entry & 1:
            return 0
        return entry & _OFFSET or None


class Image:
    """A disk of a point: qcow2 files, each over the next one. handles: open for reading, the uppermost first."""

    def __init__(self, handles: Sequence[int]) -> None:
        self._layers = [_Layer(handle) for handle in handles]
        self.size = self._layers[0].size
        self._tables: OrderedDict[tuple[int, int], tuple[int, ...]] = OrderedDict()

    def read(self, offset: int, size: int) -> bytes:
        check(self, offset, size)
        parts: list[bytes] = []
        while size:
            handle, place, length = self._piece(offset, size)
            data = bytes(length) if handle is None else os.pread(handle, length, place)
            if len(data) < length:  # a last cluster is written only as far as the disk goes
                data += bytes(length - len(data))
            parts.append(data)
            offset += length
            size -= length
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _piece(self, offset: int, size: int) -> tuple[int | None, int, int]:
        """The file, where in it, and how many bytes are in one piece there; no file: zeroes."""
        handle, place, length = self._cluster(offset)
        while length < size:
            after, follows, more = self._cluster(offset + length)
            if after != handle or (handle is not None and follows != place + length):
                break
            length += more
        return handle, place, min(length, size)

    def _cluster(self, offset: int) -> tuple[int | None, int, int]:
        for layer in self._layers:
            cluster, inside = divmod(offset, layer.cluster)
            if offset >= layer.size:
                return None, 0, layer.cluster - inside
            place = layer.where(cluster, self._tables)
            if place is not None:
                return (layer.handle if place else None), place + inside, layer.cluster - inside
        return None, 0, self._layers[0].cluster - offset % self._layers[0].cluster


class Raw:
    """A disk that is one file, byte by byte."""

    def __init__(self, handle: int) -> None:
        self._handle, self.size = handle, os.lseek(handle, 0, os.SEEK_END)

    def read(self, offset: int, size: int) -> bytes:
        check(self, offset, size)
        data = os.pread(self._handle, size, offset)
        return data + bytes(size - len(data))


class Part:
    """Bytes of a disk from one place on."""

    def __init__(self, disk: Disk, offset: int, size: int) -> None:
        check(disk, offset, size)
        self._disk, self._offset, self.size = disk, offset, size

    def read(self, offset: int, size: int) -> bytes:
        check(self, offset, size)
        return self._disk.read(self._offset + offset, size)


class Remembered:
    """A disk of which the last pages read are kept: file systems read their tables in small pieces, and again and again."""

    PAGE, KEPT = 32768, 1024

    def __init__(self, disk: Disk) -> None:
        self._disk, self.size = disk, disk.size
        self._pages: OrderedDict[int, bytes] = OrderedDict()

    def read(self, offset: int, size: int) -> bytes:
        if size >= 4 * self.PAGE:
            return self._disk.read(offset, size)
        check(self, offset, size)
        page, inside = divmod(offset, self.PAGE)
        if inside + size <= self.PAGE:
            return self._page(page)[inside : inside + size]
        last = (offset + size - 1) // self.PAGE
        data = b"".join(self._page(number) for number in range(page, last + 1))
        return data[inside : inside + size]

    def _page(self, number: int) -> bytes:
        found = self._pages.get(number)
        if found is None:
            start = number * self.PAGE
            found = self._disk.read(start, min(self.PAGE, self.size - start))
            self._pages[number] = found
            if len(self._pages) > self.KEPT:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(number)
        return found

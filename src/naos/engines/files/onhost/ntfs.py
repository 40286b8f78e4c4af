"""NTFS."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from naos.engines.files.onhost import packing
from naos.engines.files.onhost.disk import Damaged, Disk, Unsupported
from naos.engines.files.onhost.tree import FILE, FOLDER, LINK, OTHER, PIECE, Node, cut, read, whole

_STANDARD, _LIST, _NAME, _DATA, _INDEX_ROOT, _INDEX, _BITMAP, _REPARSE = (
    0x10, 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xC0,
)  # fmt: skip
_COMPRESSED, _ENCRYPTED = 0x0001, 0x4000
_SYMLINK, _MOUNT_POINT = 0xA000000C, 0xA0000003
_EPOCH = 11644473600  # seconds from 1601 to 1970
_OWN = 24  # records below are the file system's own, but for the root
_ROOT = 5
_NUMBER = (1 << 48) - 1
_MOST = 64 * 2**20  # bytes of a list or an index's map in memory
_FILE_INDEX = "$I30"


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A part of an attribute. runs: clusters and their places, None for content in the record itself."""

    kind: int
    name: str
    flags: int
    first: int
    size: int
    initialised: int
    unit: int
    content: bytes
    runs: tuple[tuple[int, int | None], ...] | None


class Ntfs:
    kind = "ntfs"
    note = ""

    def __init__(self, disk: Disk) -> None:
        head = disk.read(0, 512)
        sector, per_cluster = struct.unpack_from("<HB", head, 11)
        clusters = 1 << (256 - per_cluster) if per_cluster > 0x80 else per_cluster
        self._cluster = sector * clusters
        if sector not in (256, 512, 1024, 2048, 4096) or not clusters or self._cluster > 2**21:
            raise Damaged("its boot sector has sizes that cannot be")
        table = struct.unpack_from("<Q", head, 48)[0]
        self._record, self._index = self._sized(head[64]), self._sized(head[68])
        self._disk, self._sector = disk, sector
        self._table: list[tuple[int, int | None]] = [(self._record * 16, table * self._cluster)]
        own = self._data(0)
        self._table = list(cut(self._placed(own), own[0].size))
        self.label = ""
        for attribute in self._attributes(3):
            if attribute.kind == 0x60:
                self.label = attribute.content.decode("utf-16-le", "replace")

    def _sized(self, value: int) -> int:
        size = 1 << (256 - value) if value > 0x7F else value * self._cluster
        if not 256 <= size <= 65536:
            raise Damaged("its boot sector has sizes that cannot be")
        return size

    # ---------------------------------------------------------------------------------------------------------- records

    def _fixed(self, data: bytes, mark: bytes) -> bytearray:
        """A record whose sectors' ends are put back."""
        if data[:4] != mark:
            raise Damaged(f"a record of {mark.decode()}")
        at, count = struct.unpack_from("<HH", data, 4)
        fixed = bytearray(data)
        step = len(data) // (count - 1) if count > 1 else 0
        if step not in (256, 512, 1024, 2048, 4096) or at + count * 2 > len(data):
            raise Damaged(f"a record of {mark.decode()}")
        for number in range(1, count):
            end = number * step
            if data[end - 2 : end] != data[at : at + 2]:
                raise Damaged(f"a record of {mark.decode()} was written in part")
            fixed[end - 2 : end] = data[at + number * 2 : at + number * 2 + 2]
        return fixed

    def _raw(self, number: int) -> bytearray:
        at, offset = 0, number * self._record
        for length, place in self._table:
            if place is not None and at <= offset and offset + self._record <= at + length:
                record = self._fixed(self._disk.read(place + offset - at, self._record), b"FILE")
                if not struct.unpack_from("<H", record, 22)[0] & 1:
                    raise Damaged(f"record {number} is not in use")
                return record
            at += length
        raise Damaged(f"there is no record {number}")

    def _parsed(self, record: bytearray) -> Iterator[_Attribute]:
        at = struct.unpack_from("<H", record, 20)[0]
        while at + 8 <= len(record):
            kind, length = struct.unpack_from("<II", record, at)
            if kind == 0xFFFFFFFF:
                return
            if length < 24 or at + length > len(record):
                raise Damaged("an attribute is longer than its record")
            item = bytes(record[at : at + length])
            apart, names, where, flags = struct.unpack_from("<BBHH", item, 8)
            name = item[where : where + names * 2].decode("utf-16-le", "replace")
            if not apart:
                size, offset = struct.unpack_from("<IH", item, 16)
                yield _Attribute(kind, name, flags, 0, size, size, 0, item[offset : offset + size], None)
            else:
                if length < 64:
                    raise Damaged("an attribute is longer than its record")
                first, _, runs, unit = struct.unpack_from("<QQHH", item, 16)
                size, initialised = struct.unpack_from("<QQ", item, 48)
                found = tuple(self._runs(item[runs:]))
                yield _Attribute(kind, name, flags, first, size, initialised, unit, b"", found)
            at += length

    def _runs(self, data: bytes) -> Iterator[tuple[int, int | None]]:
        """Clusters, and the first one's number."""
        at, place = 0, 0
        while at < len(data) and data[at]:
            lengths, offsets = data[at] & 0xF, data[at] >> 4
            if not lengths or lengths > 8 or offsets > 8 or at + 1 + lengths + offsets > len(data):
                raise Damaged("a list of clusters")
            length = int.from_bytes(data[at + 1 : at + 1 + lengths], "little")
            at += 1 + lengths
            if offsets:
                place += int.from_bytes(data[at : at + offsets], "little", signed=True)
                at += offsets
            yield length, place if offsets else None

    def _attributes(self, number: int) -> list[_Attribute]:
        """Of a file, those in other records too."""
        found = list(self._parsed(self._raw(number)))
        listed = [attribute for attribute in found if attribute.kind == _LIST]
        if not listed:
            return found
        others: list[int] = []
        data = whole(self._content(listed), _MOST)
        at = 0
        while at + 26 <= len(data):
            length = struct.unpack_from("<H", data, at + 4)[0]
            if length < 26:
                break
            record = struct.unpack_from("<Q", data, at + 16)[0] & _NUMBER
            if record != number and record not in others:
                others.append(record)
            at += length
        for record in others:
            raw = self._raw(record)
            if struct.unpack_from("<Q", raw, 32)[0] & _NUMBER == number:
                found.extend(self._parsed(raw))
        return found

    @staticmethod
    def _named(attributes: list[_Attribute], kind: int, name: str = "") -> list[_Attribute]:
        """The parts of one attribute, in their order."""
        found = [attribute for attribute in attributes if attribute.kind == kind and attribute.name == name]
        return sorted(found, key=lambda attribute: attribute.first)

    def _data(self, number: int) -> list[_Attribute]:
        found = self._named(self._attributes(number), _DATA)
        if not found:
            raise Damaged(f"record {number} has no content")
        return found

    # ---------------------------------------------------------------------------------------------------------- content

    def _placed(self, parts: list[_Attribute]) -> Iterator[tuple[int, int | None]]:
        at = 0
        for part in parts:
            if part.first != at:
                raise Damaged("a file's clusters have a gap")
            for length, cluster in part.runs or ():
                yield length * self._cluster, None if cluster is None else cluster * self._cluster
                at += length

    def _content(self, parts: list[_Attribute]) -> Iterator[tuple[int, bytes | None]]:
        first = parts[0]
        if first.flags & _ENCRYPTED:
            raise Unsupported("it is encrypted inside its file system")
        if first.runs is None:
            yield first.size, first.content + bytes(first.size - len(first.content))
            return
        if first.flags & _COMPRESSED and first.unit:
            yield from self._unpacked(parts, first.size)
            return
        ready = min(first.initialised, first.size)
        yield from read(self._disk, cut(self._placed(parts), ready))
        if first.size > ready:
            yield first.size - ready, None

    def _unpacked(self, parts: list[_Attribute], size: int) -> Iterator[tuple[int, bytes | None]]:
        if parts[0].unit > 8:
            raise Damaged("a unit of compression is too long")
        unit = self._cluster << parts[0].unit
        pending: list[tuple[int, int | None]] = []
        gathered = done = 0
        for length_, place_ in self._placed(parts):
            length, place = length_, place_
            while length and done < size:
                step = min(length, unit - gathered)
                pending.append((step, place))
                gathered += step
                length -= step
                place = None if place is None else place + step
                if gathered == unit:
                    many = min(unit, size - done)
                    yield many, self._unit(pending, many)
                    done += many
                    pending, gathered = [], 0
        if done < size:
            yield size - done, self._unit(pending, size - done) if pending and size - done <= unit else None

    def _unit(self, runs: list[tuple[int, int | None]], size: int) -> bytes | None:
        if all(place is None for _, place in runs):
            return None
        data = b"".join(self._disk.read(place, length) for length, place in runs if place is not None)
        if any(place is None for _, place in runs):
            return packing.lznt1(data, size)
        return data[:size] + bytes(max(size - len(data), 0))

    def pieces(self, key: int) -> Iterator[tuple[int, bytes | None]]:
        for length, data in self._content(self._data(key)):
            if data is None or len(data) <= PIECE:
                yield length, data
            else:
                for at in range(0, length, PIECE):
                    yield min(PIECE, length - at), data[at : at + PIECE]

    def root(self) -> int:
        return _ROOT

    def node(self, key: int) -> Node:
        attributes = self._attributes(key)
        folder = bool(struct.unpack_from("<H", self._raw(key), 22)[0] & 2)
        mtime, readonly, links = 0.0, False, 0
        for attribute in attributes:
            if attribute.kind == _STANDARD and len(attribute.content) >= 36:
                changed, _, _, flags = struct.unpack_from("<QQQI", attribute.content, 8)
                mtime, readonly = changed / 1e7 - _EPOCH, bool(flags & 1)
            elif attribute.kind == _NAME and len(attribute.content) >= 66 and attribute.content[65] != 2:
                links += 1
        mode = (0o555 if readonly else 0o755) if folder else (0o444 if readonly else 0o644)
        reparse = self._named(attributes, _REPARSE)
        tag = struct.unpack_from("<I", whole(self._content(reparse), 64).ljust(4, b"\0"))[0] if reparse else 0
        if tag in (_SYMLINK, _MOUNT_POINT):
            return Node(key, LINK, 0, mtime, 0o777, max(links, 1))
        if folder:
            return Node(key, FOLDER, 0, mtime, mode, 1)
        if tag:
            return Node(
                key, OTHER, 0, mtime, mode, max(links, 1), note=f"content that a filter of Windows keeps ({tag:#x})"
            )
        data = self._named(attributes, _DATA)
        return Node(key, FILE, data[0].size if data else 0, mtime, mode, max(links, 1))

    def target(self, key: int) -> bytes:
        reparse = self._named(self._attributes(key), _REPARSE)
        data = whole(self._content(reparse), 65536)
        header = 20 if struct.unpack_from("<I", data, 0)[0] == _SYMLINK else 16
        where, length, shown, shown_length = struct.unpack_from("<HHHH", data, 8)
        if shown_length:
            where, length = shown, shown_length
        return data[header + where : header + where + length].decode("utf-16-le", "replace").encode()

    # ---------------------------------------------------------------------------------------------------------- folders

    def entries(self, key: int) -> Iterator[tuple[bytes, int]]:
        attributes = self._attributes(key)
        roots = self._named(attributes, _INDEX_ROOT, _FILE_INDEX)
        if not roots:
            raise Damaged(f"record {key} is no folder")
        yield from self._entries(roots[0].content, 16)
        parts = self._named(attributes, _INDEX, _FILE_INDEX)
        if not parts:
            return
        bits = self._named(attributes, _BITMAP, _FILE_INDEX)
        used = whole(self._content(bits), _MOST) if bits else b""
        number, pending = 0, bytearray()
        for length, data in self._content(parts):
            pending += bytes(length) if data is None else data
            while len(pending) >= self._index:
                block = bytes(pending[: self._index])
                del pending[: self._index]
                if number // 8 < len(used) and used[number // 8] >> number % 8 & 1:
                    yield from self._entries(self._fixed(block, b"INDX"), 24)
                number += 1

    @staticmethod
    def _entries(data: bytes | bytearray, header: int) -> Iterator[tuple[bytes, int]]:
        first, end = struct.unpack_from("<II", data, header)
        at, end = header + first, min(header + end, len(data))
        while at + 16 <= end:
            number, length, size, flags = struct.unpack_from("<QHHH", data, at)
            if flags & 2:
                return
            if length < 16 + size or at + length > end or size < 66:
                raise Damaged("a folder's names overlap")
            count, space = data[at + 80], data[at + 81]
            name = bytes(data[at + 82 : at + 82 + count * 2])
            number &= _NUMBER
            if space != 2 and number >= _OWN:
                yield name.decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass"), number
            at += length

"""XFS, versions 4 and 5."""

import struct
from collections.abc import Iterator

from naos.engines.files.onhost.disk import Damaged, Disk, Unsupported
from naos.engines.files.onhost.tree import Node, cut, kind_of, laid, read, whole

_LOCAL, _EXTENTS, _BTREE = 1, 2, 3
_BIGTIME, _LARGE_COUNTS, _REALTIME = 1 << 3, 1 << 4, 1
_BIGTIME_EPOCH = 1 << 31  # seconds before 1970 at which such times begin
_DATA_END = 1 << 35  # bytes of a folder's file, beyond which there are only its indexes
_LONGEST_LINK = 4096


class Xfs:
    kind = "xfs"
    note = ""

    def __init__(self, disk: Disk) -> None:
        head = disk.read(0, 512)
        self._block = struct.unpack_from(">I", head, 4)[0]
        self._root = struct.unpack_from(">Q", head, 56)[0]
        self._group, self._groups = struct.unpack_from(">II", head, 84)
        version, _, self._inode, self._per_block = struct.unpack_from(">HHHH", head, 100)
        self._per_block_log, self._group_log = head[123], head[124]
        self._folder = self._block << head[192] if head[192] <= 8 else 0
        if (
            self._block not in {512 << shift for shift in range(8)}
            or not 256 <= self._inode <= self._block
            or self._group_log > 32
            or self._per_block != self._block // self._inode
            or not 0 < self._folder <= 65536
        ):
            raise Damaged("its superblock has sizes that cannot be")
        self._newest = version & 0xF == 5
        if version & 0xF not in (4, 5):
            raise Unsupported(f"version {version & 0xF} of it")
        features = struct.unpack_from(">I", head, 216)[0]
        self._types = bool(features & 1) if self._newest else bool(struct.unpack_from(">I", head, 200)[0] & 0x200)
        if self._newest and features & ~0xFF:
            raise Unsupported(f"features {features:#x}")
        self.label = head[108:120].split(b"\0")[0].decode(errors="replace")
        self._disk = disk

    def root(self) -> int:
        return int(self._root)

    # ----------------------------------------------------------------------------------------------------------- inodes

    def _raw(self, number: int) -> bytes:
        bits = self._group_log + self._per_block_log
        group, rest = number >> bits, number & ((1 << bits) - 1)
        block, index = rest >> self._per_block_log, rest & ((1 << self._per_block_log) - 1)
        if group >= self._groups:
            raise Damaged(f"there is no inode {number}")
        place = (group * self._group + block) * self._block + index * self._inode
        raw = self._disk.read(place, self._inode)
        if raw[:2] != b"IN":
            raise Damaged(f"inode {number} is none")
        return raw

    def node(self, key: int) -> Node:
        raw = self._raw(key)
        mode, version = struct.unpack_from(">HB", raw, 2)
        uid, gid, links = struct.unpack_from(">III", raw, 8)
        if version == 1:
            links = struct.unpack_from(">H", raw, 6)[0]
        kind, note = kind_of(mode)
        if version >= 3 and struct.unpack_from(">Q", raw, 120)[0] & _BIGTIME:
            mtime = struct.unpack_from(">Q", raw, 40)[0] / 1e9 - _BIGTIME_EPOCH
        else:
            seconds, fraction = struct.unpack_from(">iI", raw, 40)
            mtime = seconds + fraction / 1e9
        size = struct.unpack_from(">Q", raw, 56)[0]
        return Node(key, kind, size, mtime, mode & 0o7777, links, uid, gid, note)

    def _fork(self, raw: bytes) -> bytes:
        start = 176 if raw[4] >= 3 else 100
        return raw[start : start + raw[82] * 8] if raw[82] else raw[start:]

    def _extents(self, raw: bytes) -> Iterator[tuple[int, int, int | None]]:
        """Of the data, in their order."""
        form, fork = raw[5], self._fork(raw)
        if form == _EXTENTS:
            large = raw[4] >= 3 and struct.unpack_from(">Q", raw, 120)[0] & _LARGE_COUNTS
            count = struct.unpack_from(">Q", raw, 24)[0] if large else struct.unpack_from(">I", raw, 76)[0]
            yield from self._records(fork, 0, count)
        elif form == _BTREE:
            level, count = struct.unpack_from(">HH", fork, 0)
            most = (len(fork) - 4) // 16
            if count > most or not 0 < level < 10:
                raise Damaged("the root of a file's extents")
            for number in range(count):
                below = struct.unpack_from(">Q", fork, 4 + most * 8 + number * 8)[0]
                yield from self._below(below, level - 1)
        else:
            raise Damaged(f"content in form {form}")

    def _below(self, number: int, level: int) -> Iterator[tuple[int, int, int | None]]:
        block = self._disk.read(self._place(number), self._block)
        if block[:4] not in (b"BMAP", b"BMA3"):
            raise Damaged("a node of a file's extents")
        header = 72 if block[:4] == b"BMA3" else 24
        here, count = struct.unpack_from(">HH", block, 4)
        if here != level:
            raise Damaged("a node of a file's extents is of another level")
        if not level:
            yield from self._records(block, header, count)
            return
        most = (self._block - header) // 16
        if count > most:
            raise Damaged("a node of a file's extents is too full")
        for number_ in range(count):
            below = struct.unpack_from(">Q", block, header + most * 8 + number_ * 8)[0]
            yield from self._below(below, level - 1)

    def _records(self, data: bytes, at: int, count: int) -> Iterator[tuple[int, int, int | None]]:
        if at + count * 16 > len(data):
            raise Damaged("a list of extents is longer than its place")
        for high, low in struct.iter_unpack(">QQ", data[at : at + count * 16]):
            start, length = (high >> 9) & ((1 << 54) - 1), low & 0x1FFFFF
            place = self._place((high & 0x1FF) << 43 | low >> 21)
            yield start * self._block, length * self._block, None if high >> 63 else place

    def _place(self, block: int) -> int:
        group, rest = block >> self._group_log, block & ((1 << self._group_log) - 1)
        return int((group * self._group + rest) * self._block)

    # ---------------------------------------------------------------------------------------------------------- content

    def pieces(self, key: int) -> Iterator[tuple[int, bytes | None]]:
        raw = self._raw(key)
        size = struct.unpack_from(">Q", raw, 56)[0]
        if struct.unpack_from(">H", raw, 90)[0] & _REALTIME:
            raise Unsupported("its content is on a real-time device")
        if raw[5] == _LOCAL:
            yield size, self._fork(raw)[:size]
            return
        yield from read(self._disk, cut(laid(self._extents(raw)), size))

    def target(self, key: int) -> bytes:
        raw = self._raw(key)
        size = min(struct.unpack_from(">Q", raw, 56)[0], _LONGEST_LINK)
        if raw[5] == _LOCAL:
            return self._fork(raw)[:size]
        if not self._newest:
            return whole(read(self._disk, cut(laid(self._extents(raw)), size)), size)
        parts = []
        for _, length, place in self._extents(raw):
            if place is not None:
                block = self._disk.read(place, min(length, 2 * _LONGEST_LINK))
                if block[:4] != b"XSLM":
                    raise Damaged("a symbolic link's block")
                parts.append(block[56 : 56 + struct.unpack_from(">I", block, 8)[0]])
        return b"".join(parts)[:size]

    # ---------------------------------------------------------------------------------------------------------- folders

    def entries(self, key: int) -> Iterator[tuple[bytes, int]]:
        raw = self._raw(key)
        if raw[5] == _LOCAL:
            yield from self._short(self._fork(raw))
            return
        for start, length, place in self._extents(raw):
            if place is None or start >= _DATA_END:
                continue
            if start % self._folder or length % self._folder:
                raise Unsupported("a folder whose blocks are in pieces")
            for at in range(0, length, self._folder):
                yield from self._names(self._disk.read(place + at, self._folder))

    def _short(self, fork: bytes) -> Iterator[tuple[bytes, int]]:
        count, wide = fork[0], fork[1]
        form, size = (">Q", 8) if wide else (">I", 4)
        at = 2 + size
        for _ in range(count):
            if at + 3 > len(fork):
                raise Damaged("a folder is longer than its place")
            length = fork[at]
            name = fork[at + 3 : at + 3 + length]
            at += 3 + length + (1 if self._types else 0)
            if at + size > len(fork):
                raise Damaged("a folder is longer than its place")
            yield name, struct.unpack_from(form, fork, at)[0]
            at += size

    def _names(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        magic = block[:4]
        if magic not in (b"XD2B", b"XD2D", b"XDB3", b"XDD3"):
            raise Damaged("a folder's block")
        at, end = 64 if magic in (b"XDB3", b"XDD3") else 16, len(block)
        if magic in (b"XD2B", b"XDB3"):
            end -= 8 + struct.unpack_from(">I", block, end - 8)[0] * 8
        while at + 8 <= end:
            if block[at : at + 2] == b"\xff\xff":
                length = struct.unpack_from(">H", block, at + 2)[0]
                if length < 8:
                    raise Damaged("a folder's free space")
                at += length
                continue
            inode, length = struct.unpack_from(">QB", block, at)
            name = block[at + 9 : at + 9 + length]
            if not length or at + 9 + length > end:
                raise Damaged("a folder's names overlap")
            if name not in (b".", b".."):
                yield name, inode
            at += (9 + length + (1 if self._types else 0) + 2 + 7) & ~7

"""ext2, ext3 and ext4."""

import struct
from collections.abc import Iterator

from naos.engines.files.onhost import journal
from naos.engines.files.onhost.disk import Damaged, Disk, Unsupported
from naos.engines.files.onhost.tree import Node, cut, kind_of, laid, read, whole

_ROOT = 2
_RECOVER, _JOURNAL, _META_GROUPS, _EXTENTS64, _INLINE, _COMPRESSION = 0x4, 0x8, 0x10, 0x80, 0x8000, 0x1
_EXTENTS_FLAG, _INLINE_FLAG, _ENCRYPTED_FLAG = 0x80000, 0x10000000, 0x800
_EXTENT = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIHH")
_LONGEST_LINK = 4096


class Ext:
    def __init__(self, disk: Disk) -> None:
        head = disk.read(1024, 1024)
        bits = struct.unpack_from("<I", head, 24)[0]
        if bits > 6:
            raise Damaged(f"blocks of 2^{10 + bits} bytes")
        self._block = 1024 << bits
        first, per_group, self._per_group = (
            struct.unpack_from("<I", head, 20)[0],
            *struct.unpack_from("<I4xI", head, 32),
        )
        revision, size = struct.unpack_from("<I", head, 76)[0], struct.unpack_from("<H", head, 88)[0]
        self._inode = size if revision else 128
        compatible, incompatible = struct.unpack_from("<II", head, 92)
        blocks = struct.unpack_from("<I", head, 4)[0]
        self._inodes = struct.unpack_from("<I", head, 0)[0]
        wide = bool(incompatible & _EXTENTS64)
        self._descriptor = max(struct.unpack_from("<H", head, 254)[0], 64) if wide else 32
        if wide:
            blocks |= struct.unpack_from("<I", head, 0x150)[0] << 32
        if incompatible & (_JOURNAL | _COMPRESSION):
            raise Unsupported("a journal of its own, or compression of ext2")
        if self._inode < 128 or self._inode > self._block or not per_group or not self._per_group:
            raise Damaged("its superblock has sizes that cannot be")
        self._meta = struct.unpack_from("<I", head, 260)[0] if incompatible & _META_GROUPS else None
        self._first, self._group = first, per_group
        self.kind = "ext4" if incompatible & 0x40 else "ext3" if compatible & 0x4 else "ext2"
        self.label = head[120:136].split(b"\0")[0].decode(errors="replace")
        self.note = ""
        self._disk: Disk = disk
        if incompatible & _RECOVER:
            number = struct.unpack_from("<I", head, 224)[0]
            runs = list(self._runs(self._raw(number), self._size(self._raw(number))))
            try:
                self._disk = journal.replayed(disk, runs, self._block)
            except Damaged as damage:
                self.note = f"its journal cannot be read ({damage}): the last changes may be missing"

    # ----------------------------------------------------------------------------------------------------------- inodes

    def _table(self, group: int) -> int:
        """The first block of a group's inodes."""
        per_block = self._block // self._descriptor
        number, index = divmod(group, per_block)
        if self._meta is not None and number >= self._meta:
            first = self._first + number * per_block * self._group
            place = (first + (1 if self._has_super(number * per_block) else 0)) * self._block
        else:
            place = (self._first + 1 + number) * self._block
        found = self._disk.read(place + index * self._descriptor, self._descriptor)
        low: int = struct.unpack_from("<I", found, 8)[0]
        return low | (struct.unpack_from("<I", found, 40)[0] << 32 if self._descriptor >= 64 else 0)

    @staticmethod
    def _has_super(group: int) -> bool:
        if group <= 1:
            return True
        for base in (3, 5, 7):
            power = base
            while power < group:
                power *= base
            if power == group:
                return True
        return False

    def _raw(self, number: int) -> bytes:
        if not 0 < number <= self._inodes:
            raise Damaged(f"there is no inode {number}")
        group, index = divmod(number - 1, self._per_group)
        return self._disk.read(self._table(group) * self._block + index * self._inode, self._inode)

    def _size(self, raw: bytes) -> int:
        return int(struct.unpack_from("<I", raw, 4)[0] | struct.unpack_from("<I", raw, 108)[0] << 32)

    def root(self) -> int:
        return _ROOT

    def node(self, key: int) -> Node:
        raw = self._raw(key)
        mode, uid, _, _, _, mtime, _, gid, links = struct.unpack_from("<HHIIIiIHH", raw, 0)
        kind, note = kind_of(mode)
        fraction = 0.0
        if len(raw) > 140 and struct.unpack_from("<H", raw, 128)[0] >= 12:
            extra = struct.unpack_from("<I", raw, 136)[0]
            mtime += (extra & 3) << 32
            fraction = (extra >> 2) / 1e9
        high_uid, high_gid = struct.unpack_from("<HH", raw, 120)
        uid, gid = uid | high_uid << 16, gid | high_gid << 16
        return Node(key, kind, self._size(raw), mtime + fraction, mode & 0o7777, links, uid, gid, note)

    # ---------------------------------------------------------------------------------------------------------- content

    def pieces(self, key: int) -> Iterator[tuple[int, bytes | None]]:
        raw = self._raw(key)
        size = self._size(raw)
        flags = struct.unpack_from("<I", raw, 32)[0]
        if flags & _ENCRYPTED_FLAG:
            raise Unsupported("it is encrypted inside its file system")
        if flags & _INLINE_FLAG:
            data = self._inline(raw)[:size]
            data += bytes(size - len(data))
            if data:
                yield size, data
            return
        yield from read(self._disk, self._runs(raw, size))

    def _runs(self, raw: bytes, size: int) -> Iterator[tuple[int, int | None]]:
        if struct.unpack_from("<I", raw, 32)[0] & _EXTENTS_FLAG:
            yield from cut(laid(self._extents(raw[40:100], 6)), size)
        else:
            yield from cut(laid(self._mapped(raw, size)), size)

    def _extents(self, node: bytes, depth_left: int) -> Iterator[tuple[int, int, int | None]]:
        magic, entries, _, depth = struct.unpack_from("<HHHH", node, 0)
        if magic != 0xF30A or 12 + entries * 12 > len(node) or depth > depth_left:
            raise Damaged("a node of a file's extents")
        for number in range(entries):
            if depth:
                _, low, high, _ = _INDEX.unpack_from(node, 12 + number * 12)
                below = self._disk.read((low | high << 32) * self._block, self._block)
                yield from self._extents(below, depth - 1)
            else:
                start, length, high, low = _EXTENT.unpack_from(node, 12 + number * 12)
                unwritten = length > 32768
                length -= 32768 if unwritten else 0
                place = None if unwritten else (low | high << 32) * self._block
                yield start * self._block, length * self._block, place

    def _mapped(self, raw: bytes, size: int) -> Iterator[tuple[int, int, int | None]]:
        """Of a file without extents: blocks in lists of lists."""
        width, pointers = self._block // 4, struct.unpack_from("<15I", raw, 40)
        end = -(-size // self._block)
        at = 0
        for number, pointer in enumerate(pointers):
            depth = max(0, number - 11)
            if at >= end:
                return
            if pointer:
                yield from self._lists(pointer, depth, at, width, end)
            at += width**depth

    def _lists(self, pointer: int, depth: int, at: int, width: int, end: int) -> Iterator[tuple[int, int, int | None]]:
        if not depth:
            yield at * self._block, self._block, pointer * self._block
            return
        start, length, place = at, 0, 0  # neighbours are one run
        for index, below in enumerate(struct.unpack(f"<{width}I", self._disk.read(pointer * self._block, self._block))):
            here = at + index * width ** (depth - 1)
            if here >= end:
                break
            if depth > 1:
                if below:
                    yield from self._lists(below, depth - 1, here, width, end)
            elif below and length and below == place + length:
                length += 1
            else:
                if length:
                    yield start * self._block, length * self._block, place * self._block
                start, length, place = here, 1 if below else 0, below
        if length:
            yield start * self._block, length * self._block, place * self._block

    def _inline(self, raw: bytes) -> bytes:
        """A small file's content in its inode: the first 60 bytes, and the rest as an attribute."""
        data = raw[40:100]
        at = 128 + (struct.unpack_from("<H", raw, 128)[0] if len(raw) >= 132 else 0)
        if at + 4 > len(raw) or struct.unpack_from("<I", raw, at)[0] != 0xEA020000:
            return data
        first = entry = at + 4
        while entry + 16 <= len(raw) and raw[entry]:
            length, index, offset, _, size, _ = struct.unpack_from("<BBHIII", raw, entry)
            if index == 7 and raw[entry + 16 : entry + 16 + length] == b"data":
                return data + raw[first + offset : first + offset + size]
            entry += 16 + (length + 3 & ~3)
        return data

    def entries(self, key: int) -> Iterator[tuple[bytes, int]]:
        raw = self._raw(key)
        flags = struct.unpack_from("<I", raw, 32)[0]
        if flags & _ENCRYPTED_FLAG:
            raise Unsupported("a folder that is encrypted inside its file system")
        if flags & _INLINE_FLAG:
            data = self._inline(raw)[: self._size(raw)]
            yield from self._names(data[4:60])
            yield from self._names(data[60:])
            return
        for length, data_ in read(self._disk, self._runs(raw, self._size(raw))):
            for at in range(0, length if data_ is not None else 0, self._block):
                yield from self._names((data_ or b"")[at : at + self._block])

    def _names(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        at = 0
        while at + 8 <= len(block):
            inode, record, length, _ = struct.unpack_from("<IHBB", block, at)
            record = len(block) - at if record in (0, 65535) and len(block) >= 65536 else record & ~3
            if record < 8 or at + record > len(block) or (inode and 8 + length > record):
                raise Damaged("a folder's names overlap")
            name = block[at + 8 : at + 8 + length]
            if inode and name not in (b"", b".", b".."):
                yield name, inode
            at += record

    def target(self, key: int) -> bytes:
        raw = self._raw(key)
        size = min(self._size(raw), _LONGEST_LINK)
        flags = struct.unpack_from("<I", raw, 32)[0]
        if size < 60 and not flags & (_EXTENTS_FLAG | _INLINE_FLAG):
            return raw[40 : 40 + size]
        return whole(self.pieces(key), size)

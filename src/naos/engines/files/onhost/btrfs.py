"""btrfs: subvolumes are folders, and compressed files are read as they were written."""

import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from naos.engines.files.onhost import packing
from naos.engines.files.onhost.disk import Damaged, Disk, Unsupported
from naos.engines.files.onhost.tree import PIECE, Node, kind_of, whole

SUPERBLOCK = 65536
_KEY = struct.Struct("<QBQ")
_FS_TREE, _FIRST_INODE = 5, 256
_INODE, _DIR_INDEX, _EXTENT, _ROOT, _CHUNK = 1, 96, 108, 132, 228
_STRIPED, _TEN, _PARITY = 0x8, 0x40, 0x180
_LONGEST_EXTENT = 2**20  # of compressed bytes; 128 KiB is what is written
_NODES = 2048  # kept in memory
_LONGEST_LINK = 4096

Key = tuple[int, int, int]
Where = tuple[int, int]


class Btrfs:
    """disks: this one, and those beside it that may belong to the same file system."""

    kind = "btrfs"
    note = ""

    def __init__(self, disks: Sequence[Disk]) -> None:
        head = disks[0].read(SUPERBLOCK, 4096)
        self._id = head[32:48]
        self._sector, self._node = struct.unpack_from("<II", head, 144)
        root, chunks = struct.unpack_from("<QQ", head, 80)
        devices = struct.unpack_from("<Q", head, 136)[0]
        if not 512 <= self._node <= 65536 or not 512 <= self._sector <= 65536:
            raise Damaged("its superblock has sizes that cannot be")
        self.label = head[299:555].split(b"\0")[0].decode(errors="replace")
        self._disks: dict[int, Disk] = {}
        for disk in disks:
            if disk.size >= SUPERBLOCK + 4096:
                other = disk.read(SUPERBLOCK, 4096)
                if other[64:72] == b"_BHRfS_M" and other[32:48] == self._id:
                    self._disks.setdefault(struct.unpack_from("<Q", other, 201)[0], disk)
        if len(self._disks) < devices:
            self.note = f"{devices - len(self._disks)} of its {devices} devices are not in the point"
        self._chunks: list[tuple[int, int, int, int, list[Where]]] = []
        self._starts: list[int] = []
        self._nodes: OrderedDict[int, tuple[int, list[Key], list[tuple[int, int]], bytes]] = OrderedDict()
        self._roots: dict[int, int] = {}
        self._bootstrap(head)
        for key, data in self._items(chunks, (0, _CHUNK, 0), (2**64 - 1, _CHUNK, 2**64 - 1)):
            if key[1] == _CHUNK:
                self._chunk(key[2], data)
        self._root_tree = root
        self._tree(_FS_TREE)

    # ----------------------------------------------------------------------------------------------- places on the disks

    def _bootstrap(self, head: bytes) -> None:
        size = struct.unpack_from("<I", head, 160)[0]
        at, end = 811, min(811 + size, 811 + 2048)
        while at + 17 + 48 <= end:
            offset = _KEY.unpack_from(head, at)[2]
            at += 17
            stripes = struct.unpack_from("<H", head, at + 44)[0]
            self._chunk(offset, head[at : at + 48 + stripes * 32])
            at += 48 + stripes * 32

    def _chunk(self, start: int, data: bytes) -> None:
        length, _, stripe, kind = struct.unpack_from("<QQQQ", data, 0)
        count = struct.unpack_from("<H", data, 44)[0]
        if 48 + count * 32 > len(data) or not count or not stripe:
            raise Damaged("one of its chunks")
        stripes = [struct.unpack_from("<QQ", data, 48 + number * 32) for number in range(count)]
        at = bisect_right(self._starts, start)
        if at and self._starts[at - 1] == start:
            return
        self._starts.insert(at, start)
        self._chunks.insert(at, (start, length, stripe, kind, stripes))

    def _read(self, logical: int, size: int) -> bytes:
        parts = []
        while size:
            at = bisect_right(self._starts, logical) - 1
            if at < 0:
                raise Damaged(f"nothing is at {logical}")
            start, length, stripe, kind, stripes = self._chunks[at]
            inside = logical - start
            if inside >= length:
                raise Damaged(f"nothing is at {logical}")
            step = min(size, length - inside)
            if kind & (_PARITY | _TEN):
                raise Unsupported("RAID 5, 6 and 10 of btrfs")
            if kind & _STRIPED:
                number, within = divmod(inside, stripe)
                device, place = stripes[number % len(stripes)]
                place += number // len(stripes) * stripe + within
                step = min(step, stripe - within)
            else:
                device, place = next((each for each in stripes if each[0] in self._disks), stripes[0])
                place += inside
            if device not in self._disks:
                raise Damaged(f"its device {device} is not in the point")
            parts.append(self._disks[device].read(place, step))
            logical += step
            size -= step
        return b"".join(parts)

    # ------------------------------------------------------------------------------------------------------------ trees

    def _load(self, place: int) -> tuple[int, list[Key], list[tuple[int, int]], bytes]:
        """Level, keys, and by key where its data are (level 0) or the node below."""
        found = self._nodes.get(place)
        if found is not None:
            return found
        data = self._read(place, self._node)
        if data[32:48] != self._id or struct.unpack_from("<Q", data, 48)[0] != place:
            raise Damaged(f"the node at {place} is another's")
        count, level = struct.unpack_from("<IB", data, 96)
        width = 33 if level else 25
        if 101 + count * width > self._node or level > 8:
            raise Damaged(f"the node at {place}")
        keys, places = [], []
        for number in range(count):
            at = 101 + number * width
            keys.append(_KEY.unpack_from(data, at))
            if level:
                places.append((struct.unpack_from("<Q", data, at + 17)[0], 0))
            else:
                offset, size = struct.unpack_from("<II", data, at + 17)
                if 101 + offset + size > self._node:
                    raise Damaged(f"an item of the node at {place}")
                places.append((101 + offset, size))
        found = self._nodes[place] = (level, keys, places, data)
        if len(self._nodes) > _NODES:
            self._nodes.popitem(last=False)
        return found

    def _items(self, root: int, first: Key, last: Key, above: int = 9) -> Iterator[tuple[Key, bytes]]:
        """Items of a tree from one key to another, both included."""
        level, keys, places, data = self._load(root)
        if level >= above:
            raise Damaged(f"the node at {root} is above itself")
        at = max(bisect_right(keys, first) - 1, 0)
        for number in range(at, len(keys)):
            if keys[number] > last:
                return
            place, size = places[number]
            if level:
                yield from self._items(place, first, last, level)
            elif keys[number] >= first:
                yield keys[number], data[place : place + size]

    def _tree(self, number: int) -> int:
        found = self._roots.get(number)
        if found is None:
            for _, data in self._items(self._root_tree, (number, _ROOT, 0), (number, _ROOT, 2**64 - 1)):
                found = struct.unpack_from("<Q", data, 176)[0]
            if found is None:
                raise Damaged(f"there is no subvolume {number}")
            self._roots[number] = found
        return found

    # ---------------------------------------------------------------------------------------------------------- content

    def root(self) -> Where:
        return _FS_TREE, _FIRST_INODE

    def node(self, key: Where) -> Node:
        tree, number = key
        wanted = (number, _INODE, 0)
        for _, data in self._items(self._tree(tree), wanted, wanted):
            size = struct.unpack_from("<Q", data, 16)[0]
            links, uid, gid, mode = struct.unpack_from("<IIII", data, 40)
            seconds, fraction = struct.unpack_from("<qI", data, 136)
            kind, note = kind_of(mode)
            return Node(key, kind, size, seconds + fraction / 1e9, mode & 0o7777, links, uid, gid, note)
        raise Damaged(f"there is no inode {number} in subvolume {tree}")

    def entries(self, key: Where) -> Iterator[tuple[bytes, Where]]:
        tree, number = key
        for _, data in self._items(self._tree(tree), (number, _DIR_INDEX, 0), (number, _DIR_INDEX, 2**64 - 1)):
            target, kind, _ = _KEY.unpack_from(data, 0)
            length = struct.unpack_from("<H", data, 27)[0]
            name = data[30 : 30 + length]
            if len(name) < length:
                raise Damaged("a folder's name is longer than its place")
            if kind == _ROOT:
                if any(True for _ in self._items(self._root_tree, (target, _ROOT, 0), (target, _ROOT, 2**64 - 1))):
                    yield name, (target, _FIRST_INODE)
            elif kind == _INODE:
                yield name, (tree, target)

    def pieces(self, key: Where) -> Iterator[tuple[int, bytes | None]]:
        size, at = self.node(key).size, 0
        items = self._items(self._tree(key[0]), (key[1], _EXTENT, 0), (key[1], _EXTENT, 2**64 - 1))
        for (_, _, start), data in items:
            if start >= size:
                break
            if start > at:
                yield start - at, None
                at = start
            for length, piece in self._extent(data):
                step = min(length, size - at)
                if step > 0:
                    yield step, None if piece is None else piece[:step]
                    at += step
        if at < size:
            yield size - at, None

    def _extent(self, data: bytes) -> Iterator[tuple[int, bytes | None]]:
        memory, compression, encryption, _, kind = struct.unpack_from("<8xQBBHB", data, 0)
        if encryption:
            raise Unsupported("it is encrypted inside its file system")
        if kind == 0:
            piece = data[21:]
            if compression:
                if memory > _LONGEST_EXTENT:
                    raise Damaged("an extent is too long")
                piece = packing.unpacked(compression, piece, memory, self._sector)
            yield len(piece), piece
            return
        place, stored, offset, length = struct.unpack_from("<QQQQ", data, 21)
        if kind == 2 or not place:
            yield length, None
        elif compression:
            if stored > _LONGEST_EXTENT or memory > _LONGEST_EXTENT:
                raise Damaged("a compressed extent is too long")
            whole_ = packing.unpacked(compression, self._read(place, stored), memory, self._sector)
            piece = whole_[offset : offset + length]
            yield length, piece + bytes(length - len(piece))
        else:
            done = 0
            while done < length:
                step = min(length - done, PIECE)
                yield step, self._read(place + offset + done, step)
                done += step

    def target(self, key: Where) -> bytes:
        return whole(self.pieces(key), _LONGEST_LINK)

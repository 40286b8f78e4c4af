"""FAT12, FAT16 and FAT32, with long names."""

import calendar
import struct
from collections.abc import Iterator

from naos.engines.files.onhost.disk import Damaged, Disk
from naos.engines.files.onhost.tree import FILE, FOLDER, Node, cut, read

_LONG, _LABEL, _FOLDER, _READ_ONLY = 0x0F, 0x08, 0x10, 0x01
_LONGEST_NAMES = 65536 * 32  # bytes of one folder
_Key = tuple[int, int, bool, float, int]
"""First cluster, size, whether it is a folder, mtime, mode: there is nothing else that a file is known by."""


class Fat:
    note = ""

    def __init__(self, disk: Disk) -> None:
        head = disk.read(0, 512)
        sector, per_cluster, reserved, tables, roots, small = struct.unpack_from("<HBHBHH", head, 11)
        table = struct.unpack_from("<H", head, 22)[0] or struct.unpack_from("<I", head, 36)[0]
        total = small or struct.unpack_from("<I", head, 32)[0]
        if sector not in (512, 1024, 2048, 4096) or not per_cluster or not reserved or not tables or not table:
            raise Damaged("its boot sector has sizes that cannot be")
        self._disk, self._cluster = disk, sector * per_cluster
        self._table, self._table_size = reserved * sector, table * sector
        self._root_at = (reserved + tables * table) * sector
        self._root_size = -(-roots * 32 // sector) * sector
        self._data = self._root_at + self._root_size
        self._count = (total * sector - self._data) // self._cluster
        if self._count <= 0:
            raise Damaged("its boot sector has sizes that cannot be")
        self._bits = 12 if self._count < 4085 else 16 if self._count < 65525 else 32
        self._root = struct.unpack_from("<I", head, 44)[0] if self._bits == 32 else 0
        self.kind = f"fat{self._bits}"
        self.label = ""
        for entry in self._raw_entries(self.root()):
            if entry[11] & 0x3F == _LABEL:
                self.label = entry[:11].decode("cp437").rstrip()
                break

    def _next(self, cluster: int) -> int:
        if self._bits == 12:
            at = cluster + cluster // 2
            word: int = struct.unpack("<H", self._disk.read(self._table + at, 2))[0]
            return word >> 4 if cluster & 1 else word & 0xFFF
        if self._bits == 16:
            return int(struct.unpack("<H", self._disk.read(self._table + cluster * 2, 2))[0])
        return int(struct.unpack("<I", self._disk.read(self._table + cluster * 4, 4))[0]) & 0x0FFFFFFF

    def _runs(self, cluster: int, limit: int) -> Iterator[tuple[int, int | None]]:
        """Clusters that follow each other are one run; a chain that is longer than `limit` bytes ends there."""
        start, length, left = cluster, 0, -(-limit // self._cluster)
        end = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[self._bits]
        while left > 0:
            if not 2 <= cluster < self._count + 2:
                raise Damaged("a chain of clusters leads nowhere")
            length, left = length + 1, left - 1
            after = self._next(cluster)
            if after != cluster + 1 or not left:
                yield length * self._cluster, self._data + (start - 2) * self._cluster
                start, length = after, 0
            if after >= end:
                return
            cluster = after

    def root(self) -> _Key:
        return self._root, 0, True, 0.0, 0o755

    def node(self, key: _Key) -> Node:
        _, size, folder, mtime, mode = key
        return Node(key, FOLDER if folder else FILE, size, mtime, mode)

    def pieces(self, key: _Key) -> Iterator[tuple[int, bytes | None]]:
        cluster, size = key[:2]
        if size:
            yield from read(self._disk, self._exact(cluster, size))

    def _exact(self, cluster: int, size: int) -> Iterator[tuple[int, int | None]]:
        total = 0
        for length, place in cut(self._runs(cluster, size), size):
            if place is None:
                raise Damaged(f"a chain of clusters ends after {total} of {size} bytes")
            total += length
            yield length, place

    def _raw_entries(self, key: _Key) -> Iterator[bytes]:
        if key[0] == 0:
            runs: Iterator[tuple[int, int | None]] = iter([(self._root_size, self._root_at)])
        else:
            runs = self._runs(key[0], _LONGEST_NAMES)
        for length, data in read(self._disk, runs):
            for at in range(0, length - 31, 32):
                entry = (data or b"")[at : at + 32]
                if not entry or not entry[0]:
                    return
                if entry[0] != 0xE5:
                    yield entry

    def entries(self, key: _Key) -> Iterator[tuple[bytes, _Key]]:
        parts: dict[int, bytes] = {}
        check = -1
        for entry in self._raw_entries(key):
            flags = entry[11]
            if flags & 0x3F == _LONG:
                if entry[0] & 0x40:
                    parts, check = {}, entry[13]
                if entry[13] == check:
                    parts[entry[0] & 0x1F] = entry[1:11] + entry[14:26] + entry[28:32]
                continue
            if flags & _LABEL:
                parts = {}
                continue
            name = self._long(parts) if parts and check == _sum(entry[:11]) else _short(entry)
            parts, check = {}, -1
            if name not in (b"", b".", b".."):
                high, time, date, low, size = struct.unpack_from("<HHHHI", entry, 20)
                folder = bool(flags & _FOLDER)
                mode = (0o755 if folder else 0o644) & ~(0o222 if flags & _READ_ONLY else 0)
                first = low | (high << 16 if self._bits == 32 else 0)
                if folder and not first:
                    continue
                yield name, (first, 0 if folder else size, folder, _time(date, time), mode)

    @staticmethod
    def _long(parts: dict[int, bytes]) -> bytes:
        data = b"".join(parts[number] for number in sorted(parts))
        text = data.decode("utf-16-le", "surrogatepass").split("\0")[0]
        return text.encode("utf-8", "surrogatepass")

    def target(self, key: _Key) -> bytes:
        del key
        raise Damaged("FAT has no symbolic links")


def _sum(short: bytes) -> int:
    found = 0
    for byte in short:
        found = ((found >> 1) + ((found & 1) << 7) + byte) & 0xFF
    return found


def _short(entry: bytes) -> bytes:
    base = (b"\xe5" if entry[0] == 5 else entry[:1]) + entry[1:8]
    words = [base.rstrip(b" "), entry[8:11].rstrip(b" ")]
    lower = (entry[12] & 0x08, entry[12] & 0x10)  # Windows NT writes names of one case so
    texts = [
        word.decode("cp437").lower() if low else word.decode("cp437") for word, low in zip(words, lower, strict=True)
    ]
    return ".".join(text for text in texts if text).encode()


def _time(date: int, time: int) -> float:
    """FAT knows no time zone: as if it were UTC."""
    if not date:
        return 0.0
    moment = (1980 + (date >> 9), date >> 5 & 15 or 1, date & 31 or 1, time >> 11, time >> 5 & 63, (time & 31) * 2)
    try:
        return float(calendar.timegm(moment))
    except ValueError:
        return 0.0

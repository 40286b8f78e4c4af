"""Where an image's own data lie in its file: qcow2 (docs/interop/qcow2.txt of QEMU), read while nobody has it open.

`qemu-img map` says it too, but opens every image below, and there may be hundreds.
"""

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from naos.engines.points.onhost.sums import BLOCK

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")  # qcow2, up to where its snapshots are
_FEATURES = struct.Struct(">Q")
_DIRTY_REFERENCES = 1
_CLUSTER_BITS = 16  # QEMU's own choice, and BLOCK
_OFFSET, _COMPRESSED, _ZEROES = 0x00FFFFFFFFFFFE00, 1 << 62, 1
_ENTRIES = BLOCK // 8  # of a table
_EMPTY = bytes(BLOCK)
_TABLE = struct.Struct(f">{_ENTRIES}Q")


class Extent(NamedTuple):
    """Blocks of the disk from the number `first` on, of `length` bytes together: at `offset` of the file, or zeroes for None."""

    first: int
    length: int
    offset: int | None


class Strange(Exception):
    """An image of another kind than points are made as."""


def own(file: int) -> Iterator[Extent]:
    """What an open image holds itself, by offset; what it does not speak of is left out. Raises Strange."""
    head = os.pread(file, _HEADER.size, 0)
    if len(head) < _HEADER.size:
        raise Strange("it ends within its header")
    magic, version, _, _, bits, size, encryption, entries, table, _, _, _, _ = _HEADER.unpack(head)
    features = _FEATURES.unpack(os.pread(file, _FEATURES.size, _HEADER.size))[0] if version == 3 else 0
    if magic != b"QFI\xfb" or version not in (2, 3) or bits != _CLUSTER_BITS or encryption:
        raise Strange(f"version {version}, clusters of {bits} bits, encryption {encryption}")
    if features & ~_DIRTY_REFERENCES:
        raise Strange(f"features {features:#x}")
    blocks = -(-size // BLOCK)
    top = struct.unpack(f">{entries}Q", _whole(file, entries * 8, table))
    first = count = 0
    offset: int | None = None
    for block, here in _clusters(file, top, blocks):
        follows = block == first + count and (here is None) == (offset is None)
        if count and follows and (offset is None or here == offset + count * BLOCK):
            count += 1
            continue
        if count:
            yield Extent(first, min(count * BLOCK, size - first * BLOCK), offset)
        first, count, offset = block, 1, here
    if count:
        yield Extent(first, min(count * BLOCK, size - first * BLOCK), offset)


def _clusters(file: int, top: tuple[int, ...], blocks: int) -> Iterator[tuple[int, int | None]]:
    """The number of a block that the image speaks of, and its offset; None: zeroes."""
    for number, entry in enumerate(top):
        at = entry & _OFFSET
        data = _whole(file, BLOCK, at) if at else _EMPTY
        if data == _EMPTY:
            continue
        for block, cluster in enumerate(_TABLE.unpack(data), number * _ENTRIES):
            if not cluster or block >= blocks:
                continue
            if cluster & _COMPRESSED:
                raise Strange("it is compressed")
            if cluster & _ZEROES:
                yield block, None
            elif cluster & _OFFSET:
                yield block, cluster & _OFFSET


def _whole(file: int, length: int, offset: int) -> bytes:
    data = os.pread(file, length, offset)
    if len(data) != length:
        raise Strange("a table lies beyond its end")
    return data

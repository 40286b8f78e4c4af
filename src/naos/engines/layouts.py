"""How finely a disk's image is divided. A snapshot notes every cluster of a disk while its volume's daemon does nothing else, so the
clusters of large disks are larger: up to 1 TiB a full disk has 2^20 of them, each of which takes some 0.1 µs to note. Not too large: the first
write to one after a snapshot copies it whole, and what a guest gives back is free again where it covers whole ones.

QEMU's subclusters (`extended_l2`) would allow more, but in QEMU 7.2 making such a clone independent ends the daemon.
"""

from collections.abc import Iterable

_GIB = 2**30
_BITS = ((16 * _GIB, 16), (256 * _GIB, 18), (512 * _GIB, 19))
"""Largest disk, and the power of two of its clusters: 64 KiB, 256 KiB, 512 KiB."""
_LARGEST_BITS = 20
PLAIN = 16
"""QEMU's own choice, for images that are no disks and have no snapshots."""
_NOTED = 0.07e-6
"""Seconds for a cluster, as measured (docs/explanation/storage.md, "What a snapshot stops")."""


def cluster_bits(size: int) -> int:
    """Of a disk of so many bytes; a disk that grows keeps what it was made with."""
    return next((bits for largest, bits in _BITS if size <= largest), _LARGEST_BITS)


def options(bits: int) -> str:
    """As `qemu-img create` takes them."""
    return f"cluster_size={1 << bits}"


def snapshot_seconds(sizes: Iterable[int]) -> float:
    """How long a volume stands still for the first snapshot of these of its disks (bytes), made with this size and written whole."""
    return sum((size >> cluster_bits(size)) * _NOTED for size in sizes)

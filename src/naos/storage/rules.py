"""What may be done with volumes and disks: pure functions of plain values."""

from naos.storage.errors import ArrayFull, DiskShrinks, DiskSize, LunSize, VolumeRoom, VolumeShrinks
from naos.units import MIB, size_text

SECTOR = 512
PERSISTENT, INDEPENDENT, NONPERSISTENT = "persistent", "independent_persistent", "independent_nonpersistent"
"""Modes of disks. Independent ones take no part in snapshots; what is written to the last is dropped at power off."""


def check_lun_size(storage_class: str, size: int, *, minimum: int, maximum: int, step: int) -> None:
    """Raises LunSize unless `size` (bytes) is within the class's bounds and on its step."""
    if minimum <= size <= maximum and size % step == 0:
        return
    nearest = min(max(round(size / step) * step, minimum), maximum)
    raise LunSize(storage_class, *(size_text(value) for value in (size, minimum, maximum, step, nearest)))


def check_array_room(array: str, *, capacity: int, taken: int, size: int) -> None:
    """Raises ArrayFull unless the array can reserve `size` more bytes: volumes are never over-committed."""
    if taken + size > capacity:
        raise ArrayFull.of(array, capacity, taken, size)


def check_disk_size(lun: str, size: int, *, lun_capacity: int) -> None:
    """Raises DiskSize unless `size` is whole sectors between 1 MiB and the volume's capacity."""
    if MIB <= size <= lun_capacity and size % SECTOR == 0:
        return
    nearest = min(max((size + SECTOR - 1) // SECTOR * SECTOR, MIB), lun_capacity // SECTOR * SECTOR)
    raise DiskSize(size, lun, MIB, lun_capacity, nearest)


def check_growth(name: str, *, present: int, wanted: int) -> None:
    """Raises DiskShrinks when a disk would lose its end."""
    if wanted < present:
        raise DiskShrinks(name, size_text(present), size_text(wanted), size_text(present - wanted))


def check_volume_growth(name: str, *, present: int, wanted: int) -> None:
    """Raises VolumeShrinks when a volume would lose its end."""
    if wanted < present:
        raise VolumeShrinks(name, size_text(present), size_text(wanted), size_text(present - wanted))


def check_room(lun: str, what: str, *, needed: int, free: int) -> None:
    """Raises VolumeRoom when a reserved (static) disk would not fit into the free space."""
    if needed > free:
        raise VolumeRoom(lun, what, size_text(needed), size_text(free), size_text(needed - free))


def next_port(first: int, taken: set[int]) -> int:
    """The lowest port from `first` on that no volume of the array has."""
    port = first
    while port in taken:
        port += 1
    return port


def next_unit(taken: set[int]) -> int:
    """The lowest free slot on a machine's bus."""
    unit = 0
    while unit in taken:
        unit += 1
    return unit

"""Refusals of storage."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError
from naos.units import size_text


@dataclass(eq=False)
class ClassUnknown(NaosError):
    code: ClassVar[str] = "storage.class_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "There is no storage class {name!r}; the classes are {known}."
    name: str
    known: str


@dataclass(eq=False)
class NoArray(NaosError):
    code: ClassVar[str] = "storage.no_array"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Zone {zone} has no storage array; choose one of {zones}."
    zone: str
    zones: str


@dataclass(eq=False)
class LunSize(NaosError):
    code: ClassVar[str] = "storage.lun_size"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A {storage_class} volume holds {minimum} to {maximum} in steps of {step}; {size} was asked. The nearest is {nearest}."
    )
    storage_class: str
    size: str
    minimum: str
    maximum: str
    step: str
    nearest: str


@dataclass(eq=False)
class ArrayFull(NaosError):
    code: ClassVar[str] = "storage.array_full"
    status: ClassVar[int] = 507
    sentence: ClassVar[str] = (
        "Array {array} has {free} of {capacity} left for volumes and {size} was asked: {missing} too much. "
        "Delete or shrink the request, or add capacity to the array."
    )
    array: str
    capacity: str
    free: str
    size: str
    missing: str

    @classmethod
    def of(cls, array: str, capacity: int, taken: int, size: int) -> "ArrayFull":
        free = max(0, capacity - taken)
        return cls(array, size_text(capacity), size_text(free), size_text(size), size_text(size - free))


@dataclass(eq=False)
class LunInUse(NaosError):
    code: ClassVar[str] = "storage.lun_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Volume {name!r} still holds {disks} disk(s), of: {machines}. Delete or move them first."
    name: str
    disks: int
    machines: str


@dataclass(eq=False)
class DiskSize(NaosError):
    code: ClassVar[str] = "storage.disk_size"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A disk of {size} bytes is not possible on volume {lun!r}: at least {minimum} bytes (1 MiB), at most {maximum} bytes "
        "(the volume), in whole sectors of 512 bytes. The nearest is {nearest} bytes."
    )
    size: int
    lun: str
    minimum: int
    maximum: int
    nearest: int


@dataclass(eq=False)
class DiskShrinks(NaosError):
    code: ClassVar[str] = "storage.disk_shrinks"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Disk {name!r} holds {present} and would shrink to {wanted}: {lost} of the guest's data could be cut off. "
        "Disks only grow; make a smaller disk and copy the data inside the guest."
    )
    name: str
    present: str
    wanted: str
    lost: str


@dataclass(eq=False)
class VolumeShrinks(NaosError):
    code: ClassVar[str] = "storage.volume_shrinks"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Volume {name!r} has {present} and would shrink to {wanted}, {lost} less. "
        "Volumes only grow; make a smaller volume and move the disks there."
    )
    name: str
    present: str
    wanted: str
    lost: str


@dataclass(eq=False)
class VolumeRoom(NaosError):
    code: ClassVar[str] = "storage.volume_room"
    status: ClassVar[int] = 507
    sentence: ClassVar[str] = (
        "Volume {lun!r} has {free} free and {what} needs {needed}. Free {missing}, or grow the volume by that much."
    )
    lun: str
    what: str
    needed: str
    free: str
    missing: str


@dataclass(eq=False)
class TooManyDisks(NaosError):
    code: ClassVar[str] = "storage.too_many_disks"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has {count} disks, the most that it can carry ({limit}); delete one first."
    )
    machine: str
    count: int
    limit: int

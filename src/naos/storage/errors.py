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
class NoVolumeKeys(NaosError):
    code: ClassVar[str] = "storage.no_volume_keys"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "An encrypted volume needs a master key of the operator's, and there is none: {reason}. Ask the operator, or create "
        "the volume without encryption."
    )
    reason: str


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
class ControllerFull(NaosError):
    code: ClassVar[str] = "storage.controller_full"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{label} of machine {machine!r} has {count} disks, the most that it carries ({limit}); delete one first, or put the disk on "
        "another controller."
    )
    machine: str
    label: str
    count: int
    limit: int


@dataclass(eq=False)
class TooManyControllers(NaosError):
    code: ClassVar[str] = "storage.too_many_controllers"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has {count} {kind} controllers, the most that it can have ({limit}); delete one first."
    )
    machine: str
    kind: str
    count: int
    limit: int


@dataclass(eq=False)
class ControllerUnsupported(NaosError):
    code: ClassVar[str] = "storage.controller_unsupported"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "{what} cannot be had: {reason}. Take {instead}."
    what: str
    reason: str
    instead: str


@dataclass(eq=False)
class SubTypeMisplaced(NaosError):
    code: ClassVar[str] = "storage.sub_type_misplaced"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A {kind} controller has no sub type ({sub_type} was given); only SCSI controllers have. Leave it out."
    )
    kind: str
    sub_type: str


@dataclass(eq=False)
class NotForDisks(NaosError):
    code: ClassVar[str] = "storage.not_for_disks"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "{label} carries no disks; choose a SCSI or PCI controller, or leave the controller out."
    label: str


@dataclass(eq=False)
class NotADrive(NaosError):
    code: ClassVar[str] = "storage.not_a_drive"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "{label} is no drive for images; make a controller of type CD/DVD first."
    label: str


@dataclass(eq=False)
class ControllerInUse(NaosError):
    code: ClassVar[str] = "storage.controller_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "{label} still has {count} disk(s): {disks}. Delete or unmount them first."
    label: str
    count: int
    disks: str


@dataclass(eq=False)
class SnapshotHolds(NaosError):
    code: ClassVar[str] = "storage.snapshot_holds"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Disk {disk!r} cannot be {change} while it is in snapshot(s) {snapshots}; delete them first."
    )
    disk: str
    change: str
    snapshots: str


@dataclass(eq=False)
class DatastoreChoice(NaosError):
    code: ClassVar[str] = "storage.datastore_choice"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A disk lies on one datastore or in one datastore cluster; name exactly one of them, {given} were given."
    )
    given: str


@dataclass(eq=False)
class DiskPath(NaosError):
    code: ClassVar[str] = "storage.disk_path"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{path!r} is no path of a disk; write it as a disk's own `diskPath` has it: [datastore] disks/<id>.qcow2."
    )
    path: str


@dataclass(eq=False)
class DiskElsewhere(NaosError):
    code: ClassVar[str] = "storage.disk_elsewhere"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Disk {disk} belongs to machine {machine!r}; unmount it there first."
    disk: str
    machine: str


@dataclass(eq=False)
class DiskUnattached(NaosError):
    code: ClassVar[str] = "storage.disk_unattached"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Disk {disk} belongs to no machine; mount it first."
    disk: str


@dataclass(eq=False)
class VolatileDisk(NaosError):
    code: ClassVar[str] = "storage.volatile_disk"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Disk {disk!r} of a running machine cannot be {change}: its mode independent_nonpersistent drops at power off what is "
        "written since the start. Power the machine off first."
    )
    disk: str
    change: str


@dataclass(eq=False)
class MediumUnknown(NaosError):
    code: ClassVar[str] = "storage.medium_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{path!r} names no image; write [content library] item, or give the content library item's id."
    )
    path: str


@dataclass(eq=False)
class MediumChoice(NaosError):
    code: ClassVar[str] = "storage.medium_choice"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A drive takes one image: give either isoPath or contentLibraryItemId, {given} were given."
    )
    given: str


@dataclass(eq=False)
class NoImage(NaosError):
    code: ClassVar[str] = "storage.no_image"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Item {item!r} is no ISO image (it is {kind}) and does not fit into a drive; add an ISO to the library."
    )
    item: str
    kind: str


@dataclass(eq=False)
class TooManySnapshots(NaosError):
    code: ClassVar[str] = "storage.too_many_snapshots"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has {count} snapshots, the most that it may have ({limit}); delete one first."
    )
    machine: str
    count: int
    limit: int


@dataclass(eq=False)
class NothingToSnapshot(NaosError):
    code: ClassVar[str] = "storage.nothing_to_snapshot"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has no disk of mode persistent ({others} of other modes), so a snapshot would hold nothing."
    )
    machine: str
    others: int


@dataclass(eq=False)
class QuiesceRefused(NaosError):
    code: ClassVar[str] = "storage.quiesce_refused"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The file systems of machine {machine!r} cannot be brought to rest: {reason}. Start its guest agent, or ask with quiesce: "
        "false for a snapshot as after a power cut."
    )
    machine: str
    reason: str

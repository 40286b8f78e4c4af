"""Refusals of the replication of volumes."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class SynchronousEnded(NaosError):
    code: ClassVar[str] = "replication.synchronous_ended"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Synchronous replication of volumes is no longer offered, since 1 January 2024: each write waited for the other zone. "
        "Choose mode asynchronous: writes are acknowledged locally, and the copy is never more than {minutes} minutes old."
    )
    minutes: int


@dataclass(eq=False)
class ModeUnknown(NaosError):
    code: ClassVar[str] = "replication.mode_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "There is no mode of replication {mode!r}; the one that is offered is asynchronous."
    mode: str


@dataclass(eq=False)
class ClassNotReplicated(NaosError):
    code: ClassVar[str] = "replication.class"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {name!r} is of class {storage_class}, and volumes of the classes {classes} are replicated; "
        "change its class first (`naos volume class`), or move its disks to a volume of such a class."
    )
    name: str
    storage_class: str
    classes: str


@dataclass(eq=False)
class ReplicatedClass(NaosError):
    code: ClassVar[str] = "replication.stays_in_class"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {name!r} is replicated, and class {storage_class} is not: the classes {classes} are. End its replication first "
        "(`naos replication delete {name}`)."
    )
    name: str
    storage_class: str
    classes: str


@dataclass(eq=False)
class EncryptedVolume(NaosError):
    code: ClassVar[str] = "replication.encrypted"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {name!r} is encrypted, and encrypted machines cannot be replicated by their volume: its key is of one zone alone. "
        "Back its machines up instead."
    )
    name: str


@dataclass(eq=False)
class ZoneNotFit(NaosError):
    """`reason` ends the sentence."""

    code: ClassVar[str] = "replication.zone"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {name!r} of zone {zone} cannot be replicated to zone {target}: {reason}. Zones that can have its replica: {others}."
    )
    name: str
    zone: str
    target: str
    reason: str
    others: str


@dataclass(eq=False)
class ReplicatedAlready(NaosError):
    code: ClassVar[str] = "replication.already"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Volume {name!r} is part of replication {replication_id} already, as its {role}."
    name: str
    replication_id: str
    role: str


@dataclass(eq=False)
class VolumeReplicated(NaosError):
    code: ClassVar[str] = "replication.volume_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {name!r} is the {role} of a replication; end that first (`naos replication delete {source}`), then try again."
    )
    name: str
    role: str
    source: str


@dataclass(eq=False)
class LimitTooLow(NaosError):
    code: ClassVar[str] = "replication.limit_too_low"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "The replication of volume {name!r} cannot be held to {speed} bytes a second: {slowest} is the least. "
        "Give at least that, or 0 for no limit."
    )
    name: str
    speed: int
    slowest: int


@dataclass(eq=False)
class LimitWindow(NaosError):
    code: ClassVar[str] = "replication.limit_window"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{window!r} is no window for a limit: two different times of the day are wanted, such as 08:00-18:00."
    )
    window: str

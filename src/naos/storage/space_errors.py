"""Refusals for want of space."""

from dataclasses import dataclass
from typing import ClassVar, Self

from naos.errors import NaosError
from naos.units import size_text


@dataclass(eq=False)
class SwapRoom(NaosError):
    """`size`: of the whole swap file; `needed`: what is not set aside for it yet."""

    code: ClassVar[str] = "storage.swap_room"
    status: ClassVar[int] = 507
    sentence: ClassVar[str] = (
        "Machine {machine!r} needs a swap file of {size} on volume {volume!r}, its memory less what is reserved of it; {free} are free "
        "there and {needed} are needed: {missing} are missing. The swap files of {others} other machines there have {taken}. Grow the "
        "volume, free space on it, stop another machine, or raise the machine's memory reservation."
    )
    machine: str
    volume: str
    size: str
    needed: str
    free: str
    missing: str
    others: int
    taken: str

    @classmethod
    def of(cls, machine: str, volume: str, *, size: int, needed: int, free: int, others: int, taken: int) -> Self:
        """Numbers in bytes."""
        missing = size_text(max(needed - free, 0))
        return cls(
            machine, volume, size_text(size), size_text(needed), size_text(free), missing, others, size_text(taken)
        )


@dataclass(eq=False)
class Overcommitted(NaosError):
    code: ClassVar[str] = "storage.overcommitted"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{size} more on volume {volume!r} would make {provisioned} provisioned of its {capacity}, and its policy allows {percent} % "
        "({allowed}): {beyond} too much. Grow the volume, delete disks, take another volume, or change its policy (naos volume keep)."
    )
    volume: str
    size: str
    provisioned: str
    capacity: str
    percent: int
    allowed: str
    beyond: str

    @classmethod
    def of(cls, volume: str, *, size: int, provisioned: int, capacity: int, percent: int) -> Self:
        """Numbers in bytes; provisioned: without `size`."""
        allowed, wanted = capacity * percent // 100, provisioned + size
        return cls(
            volume,
            size_text(size),
            size_text(wanted),
            size_text(capacity),
            percent,
            size_text(allowed),
            size_text(wanted - allowed),
        )


@dataclass(eq=False)
class SnapshotRoom(NaosError):
    code: ClassVar[str] = "storage.snapshot_room"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} has {free} of {capacity} free, and its policy refuses snapshots below {percent} % ({wanted}): {missing} are "
        "missing. Grow the volume, free space on it, or change its policy for snapshots."
    )
    volume: str
    free: str
    capacity: str
    percent: int
    wanted: str
    missing: str

    @classmethod
    def of(cls, volume: str, *, free: int, capacity: int, percent: int) -> Self:
        """Numbers in bytes."""
        wanted = capacity * percent // 100
        return cls(volume, size_text(free), size_text(capacity), percent, size_text(wanted), size_text(wanted - free))


@dataclass(eq=False)
class ReserveTooLarge(NaosError):
    code: ClassVar[str] = "storage.reserve_too_large"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "An emergency reserve is at most {percent} % of its volume; volume {volume!r} of {capacity} may have {maximum} and {size} were "
        "asked for."
    )
    volume: str
    size: str
    capacity: str
    maximum: str
    percent: int


@dataclass(eq=False)
class NoReserve(NaosError):
    code: ClassVar[str] = "storage.no_reserve"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} has no emergency reserve to release: {reason}. Grow the volume, or delete what is not needed."
    )
    volume: str
    reason: str


@dataclass(eq=False)
class InMaintenance(NaosError):
    code: ClassVar[str] = "storage.in_maintenance"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} is in maintenance and takes nothing new; name another volume, or end its maintenance first."
    )
    volume: str


@dataclass(eq=False)
class LastInService(NaosError):
    code: ClassVar[str] = "storage.last_in_service"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} is the last one of datastore cluster {cluster!r} that takes disks; add another to the cluster, or end the "
        "maintenance of one first."
    )
    volume: str
    cluster: str

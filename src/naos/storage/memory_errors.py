"""Refusals of snapshots that shall hold memory, and of going back to one."""

from dataclasses import dataclass
from typing import ClassVar, Self

from naos.errors import NaosError
from naos.units import size_text


@dataclass(eq=False)
class MemoryOfStopped(NaosError):
    code: ClassVar[str] = "storage.memory_of_stopped"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} does not run, so there is no memory to keep: ask with memory: false, or power it on first."
    )
    machine: str


@dataclass(eq=False)
class MemoryTooLarge(NaosError):
    code: ClassVar[str] = "storage.memory_too_large"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has {memory} of memory, and a snapshot holds {most} at the most: ask with memory: false."
    )
    machine: str
    memory: str
    most: str


@dataclass(eq=False)
class MemoryBesideDisks(NaosError):
    code: ClassVar[str] = "storage.memory_beside_disks"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Disks of machine {machine!r} take no part in snapshots ({disks}): its memory would go back without them, and what the guest "
        "knows of them would be wrong. Make them persistent, or ask with memory: false."
    )
    machine: str
    disks: str


@dataclass(eq=False)
class MemoryOfDevices(NaosError):
    code: ClassVar[str] = "storage.memory_of_devices"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has {count} GPU(s) handed to it, whose state nobody can read: ask with memory: false."
    )
    machine: str
    count: int


@dataclass(eq=False)
class MemoryQuiesced(NaosError):
    code: ClassVar[str] = "storage.memory_quiesced"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A snapshot with memory is not quiesced: the memory has what the file systems have not written yet, and a guest that goes on "
        "from it would find them frozen. Ask with one of both."
    )


@dataclass(eq=False)
class MemoryRoom(NaosError):
    code: ClassVar[str] = "storage.memory_room"
    status: ClassVar[int] = 507
    sentence: ClassVar[str] = (
        "The memory of machine {machine!r} needs {size} on volume {volume!r}; {free} are free there: {missing} are missing. Grow the "
        "volume, free space on it, or ask with memory: false."
    )
    machine: str
    volume: str
    size: str
    free: str
    missing: str

    @classmethod
    def of(cls, machine: str, volume: str, *, size: int, free: int) -> Self:
        """Numbers in bytes."""
        return cls(machine, volume, size_text(size), size_text(free), size_text(max(size - free, 0)))


@dataclass(eq=False)
class MemoryHolds(NaosError):
    code: ClassVar[str] = "storage.memory_holds"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} holds the memory of {count} snapshot(s) of {machines}: delete the snapshots first."
    )
    volume: str
    count: int
    machines: str


@dataclass(eq=False)
class HardwareChanged(NaosError):
    code: ClassVar[str] = "storage.hardware_changed"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} cannot go on where snapshot {snapshot!r} was taken, its hardware is another now: {differences}. Bring that "
        "back, or go back to the disks alone (memory: false)."
    )
    machine: str
    snapshot: str
    differences: str


@dataclass(eq=False)
class ProcessorLacks(NaosError):
    code: ClassVar[str] = "storage.memory_processor"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The guest of snapshot {snapshot!r} was shown {features}, which blade {blade} does not have: start it on a blade that has, or go "
        "back to the disks alone (memory: false)."
    )
    snapshot: str
    features: str
    blade: str

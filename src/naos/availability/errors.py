"""Refusals of high availability."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class TooFewBlades(NaosError):
    code: ClassVar[str] = "availability.too_few_blades"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "High availability needs two blades, one to lose and one to start on; cpool {cpool!r} has {blades}. Add a blade first."
    )
    cpool: str
    blades: int


@dataclass(eq=False)
class ToleratedTooMany(NaosError):
    code: ClassVar[str] = "availability.tolerated_too_many"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Room for the loss of {tolerated} blade(s) cannot be kept in cpool {cpool!r}, which has {blades}: 0 to {maximum} can."
    )
    cpool: str
    tolerated: int
    blades: int
    maximum: int


@dataclass(eq=False)
class AdmissionRefused(NaosError):
    """`kept`: what the blades that would be left have; `used`: what runs already."""

    code: ClassVar[str] = "availability.admission_refused"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} gets no memory: cpool {cpool!r} keeps room for {promise}, which leaves {kept}; {used} run already and the "
        "machine needs {needed}, and not all of it would find a place. Stop a machine, add a blade, or keep less (naos ha set)."
    )
    machine: str
    cpool: str
    promise: str
    kept: str
    used: str
    needed: str


@dataclass(eq=False)
class RoomPromised(NaosError):
    """The cpool would get smaller than what it promises to keep allows."""

    code: ClassVar[str] = "availability.room_promised"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Cpool {cpool!r} cannot get that small: it keeps room for {promise}, which would leave {kept}, and {used} run. "
        "Stop a machine, or keep less (naos ha set)."
    )
    cpool: str
    promise: str
    kept: str
    used: str


@dataclass(eq=False)
class NotLost(NaosError):
    """The machine is not, or no longer, to be recovered."""

    code: ClassVar[str] = "availability.not_lost"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Machine {machine!r} is not waiting to be recovered."
    machine: str

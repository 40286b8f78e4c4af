"""What an instant start is refused for, and what it holds."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class PointInUse(NaosError):
    code: ClassVar[str] = "protection.point_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} runs from the restore point of {taken}, which cannot be deleted until its disks have moved in (naos backup moves)."
    )
    machine: str
    taken: str


@dataclass(eq=False)
class InstantDone(NaosError):
    code: ClassVar[str] = "protection.instant_done"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} does not need its vault any more: there is no move whose speed could change."
    )
    machine: str

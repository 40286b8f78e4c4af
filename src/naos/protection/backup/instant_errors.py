"""What an instant start is refused for, and what it holds."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class InstantEncrypted(NaosError):
    code: ClassVar[str] = "protection.instant_encrypted"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} is encrypted, and a machine cannot run from a vault on it: the key of the way to the vault would lie on the volume in"
        " clear. Restore it (naos backup restore), or choose another volume (datastoreId, --volume)."
    )
    volume: str


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

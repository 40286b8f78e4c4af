"""Refusals and ends of maintenance."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class CannotBeEmptied(NaosError):
    code: ClassVar[str] = "compute.blade_cannot_be_emptied"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Blade {blade} cannot be emptied, so that it cannot enter maintenance. In the way: {machines}. {cause}What helps: {remedies}."
    )
    blade: str
    machines: str
    cause: str
    remedies: str


@dataclass(eq=False)
class NotThatState(NaosError):
    code: ClassVar[str] = "compute.maintenance_state"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Blade {blade} {state}, so that it cannot {wanted}: {remedy}."
    blade: str
    state: str
    wanted: str
    remedy: str


@dataclass(eq=False)
class EvacuationStopped(NaosError):
    code: ClassVar[str] = "compute.evacuation_stopped"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Blade {blade} was not emptied and takes machines again: {failed}. {moved} machine(s) had moved and stay where they are{left}."
    )
    blade: str
    failed: str
    moved: int
    left: str


@dataclass(eq=False)
class MaintenanceCancelled(NaosError):
    code: ClassVar[str] = "compute.maintenance_cancelled"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "It was cancelled. Blade {blade} takes machines again; {returned} machine(s) that had left it or made room were moved back."
    )
    blade: str
    returned: int

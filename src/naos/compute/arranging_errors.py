"""Refusals of moves that make room or balance."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class NoPlan(NaosError):
    code: ClassVar[str] = "compute.no_plan"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "No moves within cpool {cpool!r} make room for machine {machine!r}. In the way: {blame}. "
        "Change that, stop a machine, or add a blade."
    )
    cpool: str
    machine: str
    blame: str


@dataclass(eq=False)
class NothingToMove(NaosError):
    code: ClassVar[str] = "compute.nothing_to_move"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Cpool {cpool!r} needs no move: its rules hold as far as they can, and its blades are {gap} points apart, of {threshold}."
    )
    cpool: str
    gap: str
    threshold: str

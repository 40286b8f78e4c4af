"""Refusals of changes to cpools."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class BladeInUse(NaosError):
    code: ClassVar[str] = "compute.blade_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Blade {blade} cannot leave cpool {cpool!r}: {count} machine(s) run there or are on their way: {machines}. "
        "Move or stop them first."
    )
    blade: str
    cpool: str
    count: int
    machines: str


@dataclass(eq=False)
class NothingChanges(NaosError):
    code: ClassVar[str] = "compute.nothing_changes"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The request changes nothing of cpool {cpool!r}: give at least one of {fields}."
    cpool: str
    fields: str

"""Refusals and failures of hypervisor updates."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class NeedsDowntime(NaosError):
    code: ClassVar[str] = "compute.update_needs_downtime"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Cpool {cpool!r} cannot take build {version} with its machines running. {reason} Or accept the downtime: the machines that "
        "cannot move are shut down for it, blade by blade, and started again."
    )
    cpool: str
    version: str
    reason: str


@dataclass(eq=False)
class UpdateUnderWay(NaosError):
    code: ClassVar[str] = "compute.update_under_way"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Cpool {cpool!r} takes build {version} already: wait for its end, or cancel it."
    cpool: str
    version: str


@dataclass(eq=False)
class UpToDate(NaosError):
    code: ClassVar[str] = "compute.up_to_date"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Every blade of cpool {cpool!r} has build {version} already."
    cpool: str
    version: str


@dataclass(eq=False)
class UpdateOver(NaosError):
    code: ClassVar[str] = "compute.update_over"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "This update of cpool {cpool!r} is {state}: there is nothing to cancel."
    cpool: str
    state: str


@dataclass(eq=False)
class BladeSilent(NaosError):
    code: ClassVar[str] = "compute.update_blade_silent"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Blade {blade} does not answer, so that cpool {cpool!r} cannot be updated: bring it back first."
    )
    blade: str
    cpool: str


@dataclass(eq=False)
class NotEmpty(NaosError):
    code: ClassVar[str] = "compute.update_blade_not_empty"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Nothing was installed on blade {blade}: {reason}. Empty it first."
    blade: str
    reason: str


@dataclass(eq=False)
class Unhealthy(NaosError):
    code: ClassVar[str] = "compute.update_unhealthy"
    status: ClassVar[int] = 502
    sentence: ClassVar[str] = "Blade {blade} is not healthy with build {version}: {reason}. It stays in maintenance."
    blade: str
    version: str
    reason: str

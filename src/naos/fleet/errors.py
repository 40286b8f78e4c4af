"""Refusals of the fleet."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class ModelUnknown(NaosError):
    code: ClassVar[str] = "fleet.model_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "There is no blade model {name!r}; the models are {known}."
    name: str
    known: str


@dataclass(eq=False)
class BladeCount(NaosError):
    code: ClassVar[str] = "fleet.blade_count"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "A cpool has 1 to {maximum} blades; {count} were asked. Use a second cpool beyond that."
    count: int
    maximum: int


@dataclass(eq=False)
class BladesMissing(NaosError):
    code: ClassVar[str] = "fleet.blades_missing"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Zone {zone} has {free} free blade(s) of model {model} and {wanted} were asked. "
        "Ask for {free} or fewer, take another zone or model, or add blades to the inventory."
    )
    zone: str
    model: str
    free: int
    wanted: int


@dataclass(eq=False)
class PoolMemory(NaosError):
    code: ClassVar[str] = "fleet.pool_memory"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{wanted} of memory cannot be enabled: {blades} blade(s) of model {model} allow {floor} (the billed floor) to {ceiling} "
        "(what is physically there)."
    )
    wanted: str
    blades: int
    model: str
    floor: str
    ceiling: str


@dataclass(eq=False)
class PoolInUse(NaosError):
    code: ClassVar[str] = "fleet.pool_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Cpool {name!r} still has {count} machine(s): {machines}. Delete or move them first."
    name: str
    count: int
    machines: str


@dataclass(eq=False)
class ZoneUnknown(NaosError):
    code: ClassVar[str] = "fleet.zone_unknown"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "There is no availability zone {reference}; the zones are {known}."
    reference: str
    known: str


@dataclass(eq=False)
class PoolSetting(NaosError):
    code: ClassVar[str] = "fleet.pool_setting"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Cpool {cpool!r} cannot have {wanted}; choose {possible}."
    cpool: str
    wanted: str
    possible: str


@dataclass(eq=False)
class PoolShrink(NaosError):
    code: ClassVar[str] = "fleet.pool_shrink"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "{what} of cpool {cpool!r} would be {allowed} and the running machines have {used}: {machines}. "
        "Stop or move some of them first."
    )
    cpool: str
    what: str
    allowed: str
    used: str
    machines: str


@dataclass(eq=False)
class OperatorsOnly(NaosError):
    code: ClassVar[str] = "fleet.operators_only"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = "Forbidden: {what} is for the operating organisation {operator!r} alone."
    what: str
    operator: str


@dataclass(eq=False)
class BuildInUse(NaosError):
    code: ClassVar[str] = "fleet.build_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Hypervisor build {version} {reason}, so that it cannot be withdrawn. Publish a newer one instead."
    )
    version: str
    reason: str = "is being taken by a cpool"


@dataclass(eq=False)
class BuildEmpty(NaosError):
    code: ClassVar[str] = "fleet.build_empty"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Hypervisor build {version} would change nothing: give it packages or a command."
    version: str

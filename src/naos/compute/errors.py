"""Refusals of compute."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class MachineSize(NaosError):
    code: ClassVar[str] = "compute.machine_size"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A machine of cpool {cpool!r} has {minimum} to {maximum} {what} ({reason}); {wanted} was asked."
    )
    cpool: str
    what: str
    wanted: str
    minimum: str
    maximum: str
    reason: str


@dataclass(eq=False)
class CoresUneven(NaosError):
    code: ClassVar[str] = "compute.cores_uneven"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{cores} cores per socket do not divide the {cpu} vCPUs of machine {machine!r}; choose one of {possible}."
    )
    machine: str
    cores: int
    cpu: int
    possible: str


@dataclass(eq=False)
class NoRoom(NaosError):
    code: ClassVar[str] = "compute.no_room"
    status: ClassVar[int] = 409
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "No blade of cpool {cpool!r} can take machine {machine!r} ({needed} of memory). Blade by blade: {blades}. "
        "Stop a machine, make this one smaller, enable more memory, or add a blade."
    )
    cpool: str
    machine: str
    needed: str
    blades: str


@dataclass(eq=False)
class PoolFull(NaosError):
    code: ClassVar[str] = "compute.pool_full"
    status: ClassVar[int] = 409
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "Cpool {cpool!r} has {enabled} of memory enabled, {used} in use, and machine {machine!r} needs {needed}: {missing} missing. "
        "Stop a machine or enable more memory."
    )
    cpool: str
    machine: str
    enabled: str
    used: str
    needed: str
    missing: str


@dataclass(eq=False)
class WrongZone(NaosError):
    code: ClassVar[str] = "compute.wrong_zone"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Volume {volume!r} is in zone {volume_zone} and cpool {cpool!r} in zone {cpool_zone}; both must be in one zone."
    )
    volume: str
    volume_zone: str
    cpool: str
    cpool_zone: str


@dataclass(eq=False)
class WrongDatacenter(NaosError):
    code: ClassVar[str] = "compute.wrong_datacenter"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Cpool {cpool!r} is in zone {zone} ({right}), not in virtual datacenter {asked}; send that id, or leave datacenterId out."
    )
    cpool: str
    zone: str
    right: str
    asked: str


@dataclass(eq=False)
class WrongPower(NaosError):
    code: ClassVar[str] = "compute.wrong_power"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Machine {machine!r} is {power} and this needs it {needed}: {remedy}."
    machine: str
    power: str
    needed: str
    remedy: str


@dataclass(eq=False)
class BladeForeign(NaosError):
    code: ClassVar[str] = "compute.blade_foreign"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Blade {blade} is not in cpool {cpool!r}; its blades are {blades}."
    blade: str
    cpool: str
    blades: str


@dataclass(eq=False)
class TemplateLarger(NaosError):
    code: ClassVar[str] = "compute.template_larger"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Template {template!r} holds {template_size}; a disk of {wanted} is too small for it. Ask for {template_size} or more."
    )
    template: str
    template_size: str
    wanted: str


@dataclass(eq=False)
class PlacementUnsupported(NaosError):
    code: ClassVar[str] = "compute.placement_unsupported"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Machine {machine!r} cannot be moved there: {reason}."
    machine: str
    reason: str


@dataclass(eq=False)
class GuestIgnored(NaosError):
    code: ClassVar[str] = "compute.guest_ignored"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} did not shut down within {seconds} s of its power button; it still runs. Wait, or power it off."
    )
    machine: str
    seconds: int


@dataclass(eq=False)
class GpusMissing(NaosError):
    code: ClassVar[str] = "compute.gpus_missing"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Machine {machine!r} cannot have {wanted} GPU(s): a blade of its cpool has {most} at most. Ask for fewer, or move the machine "
        "to a cpool of a model that has them."
    )
    machine: str
    wanted: int
    most: int

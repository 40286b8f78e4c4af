"""Refusals of what a machine can be set to."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class GuestSystemUnknown(NaosError):
    code: ClassVar[str] = "compute.guest_system_unknown"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = (
        "There is no guest operating system {moref!r}; GET /compute/v1/vcenters/guest_operating_systems lists them."
    )
    moref: str


@dataclass(eq=False)
class PlaceForbidden(NaosError):
    """`kind`: cpool or blade."""

    code: ClassVar[str] = "compute.place_forbidden"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = (
        "There is no {kind} {identifier} that you may ask about; leave the filter out, or use your own."
    )
    kind: str
    identifier: str


@dataclass(eq=False)
class NotWhileRunning(NaosError):
    """A change that a running machine cannot take. `remedy` ends the sentence."""

    code: ClassVar[str] = "compute.not_while_running"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Machine {machine!r} is running, and {change} needs {rule}: {remedy}."
    machine: str
    change: str
    rule: str
    remedy: str


@dataclass(eq=False)
class ReservationTooLarge(NaosError):
    code: ClassVar[str] = "compute.reservation_too_large"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Machine {machine!r} cannot have {wanted} of memory reserved: {limit_of} is {limit}. Reserve at most that, or 0."
    )
    machine: str
    wanted: str
    limit_of: str
    limit: str


@dataclass(eq=False)
class BootOptionRefused(NaosError):
    code: ClassVar[str] = "compute.boot_option_refused"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Machine {machine!r} cannot have {option} {value}: {reason}."
    machine: str
    option: str
    value: str
    reason: str


@dataclass(eq=False)
class ExtraKeyUnknown(NaosError):
    code: ClassVar[str] = "compute.extra_key_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "There is no extra configuration {key!r}; the keys are {known}."
    key: str
    known: str


@dataclass(eq=False)
class ExtraValueInvalid(NaosError):
    code: ClassVar[str] = "compute.extra_value_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Extra configuration {key} cannot be {value}: {reason}."
    key: str
    value: str
    reason: str


@dataclass(eq=False)
class CustomisationRefused(NaosError):
    code: ClassVar[str] = "compute.customisation_refused"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The guest of machine {machine!r} cannot be customised so: {reason}."
    machine: str
    reason: str


@dataclass(eq=False)
class RecommendationForeign(NaosError):
    code: ClassVar[str] = "compute.recommendation_foreign"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Recommendation {key} is none of machine {machine!r} in cpool {cpool!r}; "
        "GET /compute/v1/vcenters/virtual_machines/power/recommendations lists them."
    )
    key: str
    machine: str
    cpool: str


@dataclass(eq=False)
class PlaceNeeded(NaosError):
    """`what`: the field that is missing; `choices`: what it could be."""

    code: ClassVar[str] = "compute.place_needed"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "It is not said where the machine goes: give {what} ({choices})."
    what: str
    choices: str


@dataclass(eq=False)
class VolumeIsHome(NaosError):
    """Machines without a disk there have it as their datastore nevertheless: their next disk goes there."""

    code: ClassVar[str] = "compute.volume_is_home"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {volume!r} is the datastore of {count} machine(s): {machines}. Delete or move them first."
    )
    volume: str
    count: int
    machines: str

"""Refusals of recovery."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class IntervalInvalid(NaosError):
    code: ClassVar[str] = "recovery.interval_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A replica is brought up to date every {minimum} to {maximum} minutes on this platform; {minutes} was asked for. "
        "The operator may allow less (NAOS_SHORTEST_REPLICATION, down to 1 minute)."
    )
    minutes: int
    minimum: int
    maximum: int


@dataclass(eq=False)
class SameZoneReplica(NaosError):
    code: ClassVar[str] = "recovery.same_zone"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} and {what} {name!r} are both in zone {zone}: a copy beside its original is lost with it. "
        "Name one of another zone."
    )
    machine: str
    what: str
    name: str
    zone: str


@dataclass(eq=False)
class NotReplicable(NaosError):
    """`reason` ends the sentence."""

    code: ClassVar[str] = "recovery.not_replicable"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Machine {machine!r} cannot be replicated: {reason}."
    machine: str
    reason: str


@dataclass(eq=False)
class AlreadyReplicated(NaosError):
    code: ClassVar[str] = "recovery.already_replicated"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has a replica already ({replica_id}); change that one, or stop it first."
    )
    machine: str
    replica_id: str


@dataclass(eq=False)
class InRecoveryPlan(NaosError):
    code: ClassVar[str] = "recovery.in_plan"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Machine {machine!r} is in recovery plan {plan!r}, which {why}."
    machine: str
    plan: str
    why: str


@dataclass(eq=False)
class PoolsDiffer(NaosError):
    code: ClassVar[str] = "recovery.pools_differ"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The machines of a recovery plan are in one cpool, from which they leave and to which they come back; {machine!r} is in "
        "cpool {cpool!r} and the plan's others are in {other!r}. Make a plan for each cpool."
    )
    machine: str
    cpool: str
    other: str


@dataclass(eq=False)
class WrongState(NaosError):
    """`what` begins with a capital; `state` and `remedy` are words."""

    code: ClassVar[str] = "recovery.wrong_state"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "{what} {name!r} {state}; {remedy}."
    what: str
    name: str
    state: str
    remedy: str


@dataclass(eq=False)
class PlanUnsound(NaosError):
    """`problems`: sentences without their points."""

    code: ClassVar[str] = "recovery.plan_unsound"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "{name!r} cannot be carried out: {problems}."
    name: str
    problems: str


@dataclass(eq=False)
class NotFenced(NaosError):
    code: ClassVar[str] = "recovery.not_fenced"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} is not started in the other zone: array {array} does not answer, so its disks' exports cannot be cut, and "
        "{blades}. Two running copies of one machine would follow. Bring either back, or make sure that the zone is off and say so "
        "(sourceIsDown; `naos recovery failover --source-is-down`)."
    )
    machine: str
    array: str
    blades: str


@dataclass(eq=False)
class NoPoint(NaosError):
    code: ClassVar[str] = "recovery.no_point"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "There is no complete point of machine {machine!r} in the other zone{detail}; wait for its first copy to end."
    )
    machine: str
    detail: str


@dataclass(eq=False)
class StillUnfenced(NaosError):
    code: ClassVar[str] = "recovery.still_unfenced"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Nothing is copied back yet: {disks} disk(s) on the old side are not cut off, because {array} does not answer. They are "
        "as soon as it does."
    )
    disks: int
    array: str


@dataclass(eq=False)
class ReservedForRecovery(NaosError):
    code: ClassVar[str] = "recovery.reserved"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} does not start: it needs {needed}, cpool {cpool!r} has {free} left, and {reserved} of that are kept for "
        "recovery plan(s) {plans}. Stop a machine, raise the cpool's memory, or give the reservation up."
    )
    machine: str
    cpool: str
    needed: str
    free: str
    reserved: str
    plans: str


@dataclass(eq=False)
class VolumeKeepsCopies(NaosError):
    code: ClassVar[str] = "recovery.volume_keeps_copies"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Volume {name!r} is not deleted: it keeps {what} of {machines}. Stop those replicas (`naos recovery replica stop`), or discard "
        "what a failover left (`naos recovery discard`)."
    )
    name: str
    what: str
    machines: str


@dataclass(eq=False)
class NotIncluded(NaosError):
    """A network or an address of a plan that none of its machines has."""

    code: ClassVar[str] = "recovery.not_included"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "{what} {value!r} is of no machine of the plan; it has {known}."
    what: str
    value: str
    known: str

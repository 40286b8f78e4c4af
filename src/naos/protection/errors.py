"""Refusals of protection."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class PolicyMissing(NaosError):
    code: ClassVar[str] = "protection.policy_missing"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} does not start: tenant {tenant!r} is under the SecNumCloud rules, where every machine needs a backup policy, "
        "and it has none. Assign one first, or `nobackup` to go without on purpose: "
        "naos policy assign {machine} nobackup. A deployment is powered on after that."
    )
    machine: str
    tenant: str


@dataclass(eq=False)
class PolicyHeld(NaosError):
    """`what`: a machine that would start."""

    code: ClassVar[str] = "protection.policy_held"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} does not start: its backup policy {policies} is held. "
        "Release the policy (naos policy release), or assign another one to the machine."
    )
    machine: str
    policies: str


@dataclass(eq=False)
class HeldUnassignable(NaosError):
    code: ClassVar[str] = "protection.held_unassignable"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Backup policy {policy!r} is held, and a held policy cannot be assigned; release it first (naos policy release {policy})."
    )
    policy: str


@dataclass(eq=False)
class SameZone(NaosError):
    code: ClassVar[str] = "protection.same_zone"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Backup policy {policy!r} stores in zone {zone}, where machine {machine!r} (zone {machine_zone}) is itself: a zone that is lost would "
        "take both. Choose a policy of another zone."
    )
    policy: str
    zone: str
    machine: str
    machine_zone: str


@dataclass(eq=False)
class LastPolicy(NaosError):
    code: ClassVar[str] = "protection.last_policy"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} is running in tenant {tenant!r}, which is under the SecNumCloud rules: its last backup policy cannot be taken away. "
        "Power it off first, or assign another policy (`nobackup` is one)."
    )
    machine: str
    tenant: str


@dataclass(eq=False)
class PolicyInUse(NaosError):
    code: ClassVar[str] = "protection.policy_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Backup policy {policy!r} is still assigned to {count} machine(s) or disk(s): {members}. Assign them another policy first."
    )
    policy: str
    count: int
    members: str


@dataclass(eq=False)
class NoBackupFixed(NaosError):
    code: ClassVar[str] = "protection.nobackup_fixed"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The policy `nobackup` stands for no backup in every tenant: it is not made, {verb} or deleted. Make a policy of another name."
    )
    verb: str


@dataclass(eq=False)
class SiteUnknown(NaosError):
    code: ClassVar[str] = "protection.site_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "There is no backup site {reference!r}; a zone that has a vault is one: {known}."
    reference: str
    known: str


@dataclass(eq=False)
class ScheduleInvalid(NaosError):
    """`what`: the number in question, e.g. retention in days."""

    code: ClassVar[str] = "protection.schedule_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "A backup policy's {what} is {minimum} to {maximum}; {wanted} was asked."
    what: str
    wanted: int
    minimum: int
    maximum: int


@dataclass(eq=False)
class SchedulesMissing(NaosError):
    code: ClassVar[str] = "protection.schedules_missing"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "A backup policy has 1 to {maximum} schedules; {count} were given."
    count: int
    maximum: int


@dataclass(eq=False)
class JobHeld(NaosError):
    code: ClassVar[str] = "protection.job_held"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Job {job} ({name}) is held, as its backup policy is; release the policy first (naos policy release {name})."
    )
    job: str
    name: str

"""Refusals of backup: its rhythms, runs, restore points and restores."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class CronInvalid(NaosError):
    code: ClassVar[str] = "protection.cron_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{expression!r} is no rhythm: {reason}. Write minute, hour, day of the month, month and day of the week, such as "
        "'30 2 * * *' for half past two every night."
    )
    expression: str
    reason: str


@dataclass(eq=False)
class TimeZoneUnknown(NaosError):
    code: ClassVar[str] = "protection.time_zone_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "There is no time zone {name!r}; a name of the time zone database is wanted, such as Europe/Paris or UTC."
    )
    name: str


@dataclass(eq=False)
class KeepInvalid(NaosError):
    """`what`: days, weeks, months, years, or days of immutability."""

    code: ClassVar[str] = "protection.keep_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "A backup policy keeps {minimum} to {maximum} {what}; {wanted} were asked."
    what: str
    wanted: int
    minimum: int
    maximum: int


@dataclass(eq=False)
class KeepNothing(NaosError):
    code: ClassVar[str] = "protection.keep_nothing"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A backup policy that keeps no days, weeks, months or years would keep nothing; say at least one of them."
    )


@dataclass(eq=False)
class WindowInvalid(NaosError):
    code: ClassVar[str] = "protection.window_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{window!r} is no backup window: two different times of the day are wanted, such as 22:00-06:00."
    )
    window: str


@dataclass(eq=False)
class JobRunning(NaosError):
    code: ClassVar[str] = "protection.job_running"
    status: ClassVar[int] = 409
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "Backup policy {policy!r} is at work since {since}: {ended} of {total} machines are done. A policy has one run at a time; wait for it."
    )
    policy: str
    since: str
    ended: int
    total: int


@dataclass(eq=False)
class NothingToRun(NaosError):
    code: ClassVar[str] = "protection.nothing_to_run"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Backup policy {policy!r} has nothing to copy: {reason}. Assign it to a machine first (naos policy assign MACHINE {policy})."
    )
    policy: str
    reason: str


@dataclass(eq=False)
class QuotaReached(NaosError):
    code: ClassVar[str] = "protection.quota_reached"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The tenant has {used} in vaults and may have {quota}: machine {machine!r} is not copied. Keep less (naos policy terms), delete "
        "restore points, or have the quota raised."
    )
    machine: str
    used: str
    quota: str


@dataclass(eq=False)
class EncryptedInClear(NaosError):
    """`disks`: those on encrypted volumes, by name."""

    code: ClassVar[str] = "protection.encrypted_in_clear"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} has disks on encrypted volumes ({disks}), and what is kept in the vaults of {site} lies there in clear: it is "
        "not copied. Put a vault's folder on storage that its host encrypts (fscrypt, dm-crypt), allow it for the policy "
        "(naos policy terms {policy} --encrypted clear), or give these disks no policy."
    )
    machine: str
    disks: str
    site: str
    policy: str


@dataclass(eq=False)
class NotQuiesced(NaosError):
    code: ClassVar[str] = "protection.not_quiesced"
    status: ClassVar[int] = 409
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "Backup policy {policy!r} wants the file systems of machine {machine!r} at rest, and they were not: {reason}. Install or start the "
        "guest's agent, or set the policy to `auto` (naos policy terms {policy} --quiesce auto)."
    )
    machine: str
    policy: str
    reason: str


@dataclass(eq=False)
class PointImmutable(NaosError):
    code: ClassVar[str] = "protection.point_immutable"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The restore point of {machine!r} of {taken} cannot be deleted by anybody until {until}: its policy made it immutable."
    )
    machine: str
    taken: str
    until: str


@dataclass(eq=False)
class PointHeld(NaosError):
    code: ClassVar[str] = "protection.point_held"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The restore point of {machine!r} of {taken} belongs to backup policy {policy!r}, which is held: nothing of it is deleted. "
        "Release the policy first (naos policy release {policy})."
    )
    machine: str
    taken: str
    policy: str


@dataclass(eq=False)
class PointLast(NaosError):
    code: ClassVar[str] = "protection.point_last"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The restore point of {taken} is the last good one of machine {machine!r}, which is still there; it is deleted only with force "
        "(naos backup delete --force)."
    )
    machine: str
    taken: str


@dataclass(eq=False)
class PointNotReady(NaosError):
    """`state`: copying, damaged or deleting."""

    code: ClassVar[str] = "protection.point_not_ready"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The restore point of {machine!r} of {taken} is {state}; choose another one (naos backup list)."
    )
    machine: str
    taken: str
    state: str


@dataclass(eq=False)
class PolicyHasPoints(NaosError):
    code: ClassVar[str] = "protection.policy_has_points"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Backup policy {policy!r} has {count} restore point(s), which would lose their rules of retention with it. Delete them first "
        "(naos backup delete), or keep the policy."
    )
    policy: str
    count: int


@dataclass(eq=False)
class DisksUnknown(NaosError):
    code: ClassVar[str] = "protection.disks_unknown"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The restore point has no disk {disks}; it has {known}."
    disks: str
    known: str


@dataclass(eq=False)
class PlaceGone(NaosError):
    """`what`: the cpool, the volume or the network of then; `option`: how another one is named."""

    code: ClassVar[str] = "protection.place_gone"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The {what} that {machine!r} had at the time is not there any more; name another one with {option}."
    )
    machine: str
    what: str
    option: str


@dataclass(eq=False)
class RestoreUndecided(NaosError):
    code: ClassVar[str] = "protection.restore_undecided"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Machine {machine!r} was restored before, and its old disks are still kept: confirm that restore, or take it back, first "
        "(naos backup restores)."
    )
    machine: str


@dataclass(eq=False)
class RestoreState(NaosError):
    """`wanted`: the states in which it can be done."""

    code: ClassVar[str] = "protection.restore_state"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The restore of {machine!r} ({mode}) is {state}: it cannot be {verb}, which is for {wanted}."
    )
    machine: str
    mode: str
    state: str
    verb: str
    wanted: str


@dataclass(eq=False)
class NotForProduction(NaosError):
    """`what`: an option that only makes another machine."""

    code: ClassVar[str] = "protection.not_for_production"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A restore to production replaces the disks of machine {machine!r}, which stays as it is and is started afterwards: leave {what} out, "
        "or restore a clone."
    )
    machine: str
    what: str

"""What may be done with policies: pure functions of plain values."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from naos.names import listing
from naos.protection.errors import (
    HeldUnassignable,
    LastPolicy,
    PolicyHeld,
    PolicyMissing,
    SameZone,
    ScheduleInvalid,
    SchedulesMissing,
)

MOST_SCHEDULES = 8
LONGEST_RETENTION = 3650
"""Days."""


class Trigger(StrEnum):
    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"


class JobStatus(StrEnum):
    """IDLE: it may run. HELD: its policy is held. RESOURCE ACTIVE: it may run, and something of its restore points is in use: a test
    restore that was not cleaned up, a machine that runs from one."""

    IDLE = "IDLE"
    RUNNING = "RUNNING"
    HELD = "HELD"
    RESOURCE_ACTIVE = "RESOURCE ACTIVE"


class RunStatus(StrEnum):
    """PARTIAL: it came to its end without having seen everything."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Schedule:
    """Every `frequency` days, weeks or months from `activate_at` on; copies are kept for `retention` days."""

    trigger: Trigger
    frequency: int
    retention: int
    activate_at: datetime


@dataclass(frozen=True)
class Policy:
    """What the rules look at. zone: where it stores, None for `nobackup`."""

    name: str
    zone: str | None
    held: bool


_MOST = {Trigger.DAILY: 366, Trigger.WEEKLY: 52, Trigger.MONTHLY: 12}


def check_schedules(schedules: Sequence[Schedule]) -> None:
    """Raises SchedulesMissing, ScheduleInvalid."""
    if not 1 <= len(schedules) <= MOST_SCHEDULES:
        raise SchedulesMissing(len(schedules), MOST_SCHEDULES)
    for schedule in schedules:
        if not 1 <= schedule.retention <= LONGEST_RETENTION:
            raise ScheduleInvalid("retention in days", schedule.retention, 1, LONGEST_RETENTION)
        most = _MOST[schedule.trigger]
        if not 1 <= schedule.frequency <= most:
            raise ScheduleInvalid(f"frequency (trigger {schedule.trigger})", schedule.frequency, 1, most)


def check_zones(machine: str, machine_zone: str, policies: Collection[Policy]) -> None:
    """Raises SameZone: a copy beside its original is lost with it."""
    for policy in policies:
        if policy.zone == machine_zone:
            raise SameZone(policy.name, policy.zone, machine, machine_zone)


def check_assignable(policies: Collection[Policy]) -> None:
    """`policies`: those that are new to the object. Raises HeldUnassignable."""
    for policy in policies:
        if policy.held:
            raise HeldUnassignable(policy.name)


def check_last(machine: str, tenant: str, *, snc: bool, running: bool, remaining: int) -> None:
    """Raises LastPolicy when a running machine of an SNC tenant would be left without a policy."""
    if snc and running and not remaining:
        raise LastPolicy(machine, tenant)


def check_start(machine: str, tenant: str, *, snc: bool, policies: Collection[Policy]) -> None:
    """Raises PolicyMissing, PolicyHeld."""
    if snc and not policies:
        raise PolicyMissing(machine, tenant)
    held = [policy.name for policy in policies if policy.held]
    if held:
        raise PolicyHeld(machine, listing(held))


def job_status(*, running: bool, held: bool, active: bool) -> JobStatus:
    """active: something of its restore points is in use."""
    if held:
        return JobStatus.HELD
    if running:
        return JobStatus.RUNNING
    return JobStatus.RESOURCE_ACTIVE if active else JobStatus.IDLE


def outcome(*, failed: int) -> RunStatus:
    return RunStatus.PARTIAL if failed else RunStatus.COMPLETED

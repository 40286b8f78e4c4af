"""Backup on the wire, beyond what clients of the wire API know. Times are milliseconds since 1970, sizes bytes."""

from datetime import UTC, datetime

from pydantic import Field

from naos.protection.backup import cron, schedule
from naos.protection.backup.errors import CronInvalid
from naos.protection.backup.retention import Keep
from naos.protection.backup.terms import Quiesce, Wish
from naos.protection.rules import LONGEST_RETENTION, Schedule
from naos.wire import Request, Whole, Wire


class KeepWire(Wire):
    days: int
    weeks: int
    months: int
    years: int


class KeepRequest(Request):
    days: Whole = 0
    weeks: Whole = 0
    months: Whole = 0
    years: Whole = 0


class TermsRequest(Request):
    """What is left out stays as it is, or gets its default. `cron`: "" for the policy's schedules again; `window`: "" for always;
    `speed`: bytes a second, 0 for no limit; `verify_days`, `boot_days`: 0 for never. `in_clear`: copy disks of encrypted volumes
    too, whose copies lie in the vault in clear."""

    time_zone: str | None = Field(default=None, max_length=63)
    cron: str | None = Field(default=None, max_length=128)
    keep: KeepRequest | None = None
    immutable_days: Whole | None = None
    window: str | None = Field(default=None, max_length=11)
    quiesce: Quiesce | None = None
    speed: Whole | None = Field(default=None, ge=0, le=2**40)
    verify_days: Whole | None = Field(default=None, ge=0, le=3660)
    boot_days: Whole | None = Field(default=None, ge=0, le=3660)
    in_clear: bool | None = None


class TermsWire(Wire):
    """`next_run`: null while nothing is due within years, and for a held policy. `overruns`: instants that found a run still under
    way."""

    time_zone: str
    cron: str
    keep: KeepWire
    immutable_days: int
    window: str
    quiesce: Quiesce
    speed: int
    verify_days: int
    boot_days: int
    in_clear: bool
    next_run: int | None
    overruns: int
    overran_at: int | None


def wish_of(body: TermsRequest | None) -> Wish:
    if body is None:
        return Wish()
    keep = None if body.keep is None else Keep(body.keep.days, body.keep.weeks, body.keep.months, body.keep.years)
    return Wish(
        time_zone=body.time_zone,
        cron=body.cron,
        keep=keep,
        immutable_days=body.immutable_days,
        window=body.window,
        quiesce=body.quiesce,
        speed=body.speed,
        verify_days=body.verify_days,
        boot_days=body.boot_days,
        in_clear=body.in_clear,
    )


def schedules_of(body: TermsRequest) -> list[Schedule]:
    """A cron expression in the words of the wire's schedules, for clients that know only these. Raises CronInvalid."""
    if not body.cron:
        raise CronInvalid("", "a policy without schedules needs one")
    keep = body.keep or KeepRequest(days=30)
    trigger, frequency = schedule.trigger_of(cron.parse(body.cron))
    longest = Keep(keep.days, keep.weeks, keep.months, keep.years).longest
    return [Schedule(trigger, frequency, min(max(longest, 1), LONGEST_RETENTION), datetime.now(UTC))]


class TaskWire(Wire):
    """A machine in a run."""

    virtual_machine_id: str
    name: str
    status: str
    reason: str
    activity_id: str | None
    copied: int
    start: int | None
    end: int | None


class PointDiskWire(Wire):
    id: str
    name: str
    unit: int
    size: int
    stored: int


class PointWire(Wire):
    """`kept_for`: days, weeks, months, years or last; nothing when its policy does not keep it, or is gone. `boot_note`: how its last
    boot test went, beginning with alive, console or failed."""

    id: str
    virtual_machine_id: str
    name: str
    policy_id: str
    policy_name: str
    site: str
    storage: str
    taken_at: int
    state: str
    consistency: str
    note: str
    size: int
    stored: int
    copied: int
    immutable_until: int | None
    verified_at: int | None
    booted_at: int | None
    boot_note: str
    kept_for: list[str]
    disks: list[PointDiskWire]


class QuotaRequest(Request):
    """`size`: null for no limit."""

    size: Whole | None = Field(ge=1, le=2**60)


class QuotaWire(Wire):
    """`days_left`: at the present slope; null without a limit, or when nothing grows."""

    used: int
    size: int | None
    alarm: str
    alarm_since: int | None
    days_left: float | None


class MissingWire(Wire):
    """A machine that is not as well kept as it might be. `latest`: when its last good point was taken."""

    virtual_machine_id: str
    name: str
    policies: list[str]
    latest: int | None
    reason: str


class MatrixRow(Wire):
    """A machine's days, the oldest first: the best of what happened on each: good, damaged, failed, skipped, or ""."""

    virtual_machine_id: str
    name: str
    days: list[str]


class MatrixWire(Wire):
    """`days`: the dates, in the policy's or else in UTC."""

    days: list[str]
    machines: list[MatrixRow]

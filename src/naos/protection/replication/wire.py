"""The wire forms of replicated volumes. Times are ISO 8601 in UTC, durations seconds, sizes bytes."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from naos.protection.replication.pacing import MOST_WINDOWS
from naos.wire import Request, Whole, Wire


class ReplicatedVolume(Wire):
    id: str
    name: str
    zone: str
    storage_class: str
    capacity: int


class RecoveryPoint(Wire):
    """rpo_promised: the age that the last complete point never reaches. rpo_achieved: its age now, counted from the beginning of its
    copy; null until there is one."""

    rpo_promised: float
    rpo_achieved: float | None
    point_id: str | None
    instant: datetime | None


class PointUnderWay(Wire):
    """rate: bytes a second; left: seconds, null while nobody can say."""

    since: datetime
    done: int
    total: int
    rate: float
    left: float | None


class LastPoint(Wire):
    seconds: float
    bytes: int


class LimitWindow(Wire):
    """Between two wall times, `08:00-18:00`: bytes a second."""

    window: str
    speed: int


class Limits(Wire):
    """speed: bytes a second of the whole volume, 0 for no limit; windows: what holds instead of it between wall times of timeZone, of
    several that are open the slowest. now: what holds at this moment, null for no limit."""

    speed: int
    windows: list[LimitWindow]
    time_zone: str
    now: int | None


class Replication(Wire):
    """health: first copy, kept, endangered or broken. failure: why the last attempt at a point ended, null when it ended well."""

    id: str
    mode: Literal["asynchronous"]
    status: str
    source: ReplicatedVolume
    replica: ReplicatedVolume
    health: str
    recovery_point: RecoveryPoint
    running: PointUnderWay | None
    last: LastPoint | None
    limits: Limits
    failure: str | None
    alarm_since: datetime | None
    alarm: str | None


Speed = Annotated[Whole, Field(ge=0, le=2**40)]


class WindowRequest(Request):
    """window: two times of the day, such as 08:00-18:00; over midnight when it ends before it begins. speed: bytes a second, 0 for no
    limit."""

    window: str = Field(max_length=11)
    speed: Speed


class LimitsRequest(Request):
    """What is left out stays as it is."""

    speed: Speed | None = None
    windows: list[WindowRequest] | None = Field(default=None, max_length=MOST_WINDOWS)
    time_zone: str | None = Field(default=None, min_length=1, max_length=64)


class ReplicationRequest(LimitsRequest):
    """volumeId: what is replicated. zoneId: where to, an id or a name of another zone of the region. mode: asynchronous is offered."""

    volume_id: str = Field(min_length=1, max_length=36)
    zone_id: str = Field(min_length=1, max_length=255)
    mode: str = Field(default="asynchronous", max_length=32)

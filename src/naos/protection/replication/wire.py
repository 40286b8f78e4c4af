"""The wire forms of replicated volumes. Times are ISO 8601 in UTC, durations seconds, sizes bytes."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from naos.wire import Request, Wire


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
    failure: str | None
    alarm_since: datetime | None
    alarm: str | None


class ReplicationRequest(Request):
    """volumeId: what is replicated. zoneId: where to, an id or a name of another zone of the region. mode: asynchronous is offered."""

    volume_id: str = Field(min_length=1, max_length=36)
    zone_id: str = Field(min_length=1, max_length=255)
    mode: str = Field(default="asynchronous", max_length=32)

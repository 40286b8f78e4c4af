"""Instant starts on the wire. Times are milliseconds since 1970, sizes bytes."""

from pydantic import Field

from naos.ids import ResourceId
from naos.names import Name
from naos.protection.backup.restore_wire import Mode, NetworkChoice
from naos.wire import Request, Whole, Wire

MOST_SPEED = 2**40


class InstantStartRequest(Request):
    """As of a restore. `speed`: bytes a second at which the disks move in, 0 for no limit."""

    mode: Mode = Mode.TEST
    name: Name | None = None
    host_cluster_id: ResourceId | None = None
    datastore_id: ResourceId | None = None
    networks: list[NetworkChoice] = Field(default_factory=list, max_length=64)
    speed: Whole = Field(default=0, ge=0, le=MOST_SPEED)


class SpeedRequest(Request):
    """`speed`: bytes a second, 0 for no limit."""

    speed: Whole = Field(ge=0, le=MOST_SPEED)


class InstantStartWire(Wire):
    """`id`: of the restore that it is. `state`: starting, moving or done. `done` of `total` bytes have moved in; `note`: why the rest does
    not at present."""

    id: str
    restore_point_id: str
    virtual_machine_id: str
    name: str
    mode: Mode
    state: str
    speed: int
    done: int
    total: int
    note: str
    created_at: int
    ended_at: int | None

"""Restores on the wire."""

from enum import StrEnum

from pydantic import Field

from naos.ids import ResourceId
from naos.names import Name
from naos.wire import Request, Wire


class Mode(StrEnum):
    """test: another machine on a network of its own, cleaned up or converted later. clone: another machine, with new MAC addresses
    and a new identity. production: the machine itself; its present disks are kept until somebody confirms."""

    TEST = "test"
    CLONE = "clone"
    PRODUCTION = "production"


class NetworkChoice(Request):
    """The id of an adapter's network of then, which may be gone, and which one to use now."""

    original: str = Field(max_length=64)
    network_id: ResourceId


class RestoreRequest(Request):
    """`disk_ids`: those to restore, None for all of the point. `datastore_id`: where all of them go; without it each goes to its own
    volume of then. `networks`: for adapters whose network is gone or another one now."""

    mode: Mode = Mode.TEST
    name: Name | None = None
    disk_ids: list[ResourceId] | None = Field(default=None, min_length=1, max_length=64)
    host_cluster_id: ResourceId | None = None
    datastore_id: ResourceId | None = None
    networks: list[NetworkChoice] = Field(default_factory=list, max_length=64)
    power_on: bool = False


class ConvertRequest(Request):
    networks: list[NetworkChoice] = Field(default_factory=list, max_length=64)


class RestoreWire(Wire):
    """`state`: restoring; test; replaced, while the old disks are kept; done."""

    id: str
    restore_point_id: str
    virtual_machine_id: str
    name: str
    mode: Mode
    state: str
    old_disks: list[str]
    created_at: int
    ended_at: int | None

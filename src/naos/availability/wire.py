"""High availability on the wire; these areas are naos' own."""

from typing import Annotated, Literal

from pydantic import Field, Strict

from naos.wire import Request, Whole, Wire


class PoolAvailabilityWire(Wire):
    """`room`: bytes that machines may still take while room is kept for the tolerated losses, and `keptPercent` of all memory."""

    host_cluster_id: str
    enabled: bool
    tolerated_losses: int
    kept_percent: int
    frozen_after: int
    connected_hosts: int
    kept_memory: int
    used_memory: int
    room: int
    survives: bool


class PoolAvailabilityRequest(Request):
    """What is left out stays. frozenAfter: seconds, 0 for never."""

    enabled: Annotated[bool, Strict()] | None = None
    tolerated_losses: Annotated[Whole | None, Field(ge=0, le=31)] = None
    kept_percent: Annotated[Whole | None, Field(ge=0, le=90)] = None
    frozen_after: Annotated[Whole | None, Field(ge=0, le=86_400)] = None


class MachineAvailabilityWire(Wire):
    virtual_machine_id: str
    priority: str
    best_effort: bool
    start_order: int
    start_delay: int
    restart_limit: int
    hung_after: int


class MachineAvailabilityRequest(Request):
    """What is left out stays. Times in seconds; hungAfter 0 is never."""

    priority: Literal["high", "medium", "low", "disabled"] | None = None
    best_effort: Annotated[bool, Strict()] | None = None
    start_order: Annotated[Whole | None, Field(ge=0, le=1000)] = None
    start_delay: Annotated[Whole | None, Field(ge=0, le=3600)] = None
    restart_limit: Annotated[Whole | None, Field(ge=1, le=100)] = None
    hung_after: Annotated[Whole | None, Field(ge=0, le=86_400)] = None


class BladeConditionWire(Wire):
    """A blade as high availability sees it; `condition`: healthy, suspect, unmanaged, frozen, storage_lost or dead."""

    id: str
    name: str
    host_cluster_id: str
    condition: str
    reason: str
    since: str | None


class RecoveryWire(Wire):
    """A machine that was lost; `progress`: isolating, waiting, starting, recovered or abandoned."""

    id: str
    virtual_machine_id: str
    virtual_machine_name: str
    host_cluster_id: str
    lost_on: str
    cause: str
    progress: str
    reason: str
    attempts: int
    started_on: str | None
    created_at: str
    ended_at: str | None

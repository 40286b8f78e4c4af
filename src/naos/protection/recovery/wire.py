"""Recovery on the wire; these areas are naos' own."""

from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from naos.ids import ResourceId
from naos.names import Name
from naos.protection.recovery.rules import LONGEST_INTERVAL, MOST_POINTS
from naos.protection.recovery.scopes import CHECK_PATIENCE
from naos.wire import Reference, Request, Whole, Wire

Truth = Annotated[bool, Strict()]
Interval = Annotated[Whole, Field(ge=1, le=LONGEST_INTERVAL)]
Keep = Annotated[Whole, Field(ge=1, le=MOST_POINTS)]
MOST_MACHINES = 200


class ReplicaPointWire(Wire):
    """A recovery point: what the machine's disks held at `instant`. sent: bytes that travelled for it."""

    id: str
    instant: str
    sent: int


class ReplicaWire(Wire):
    """interval: seconds. state: active, paused or failed_over. age: seconds of the last complete point, counted from the instant that it
    shows; null without one. lastSeconds, lastSent: of its copy. warning: that the machine writes too fast for its interval, with the figures."""

    id: str
    virtual_machine: Reference
    host_cluster: Reference
    datastore: Reference
    interval: int
    keep: int
    state: str
    age: float | None
    late: bool
    last_seconds: float
    last_sent: int
    failure: str
    warning: str
    next_at: str | None
    points: list[ReplicaPointWire]


class ReplicaRequest(Request):
    virtual_machine_id: ResourceId
    host_cluster_id: ResourceId
    datastore_id: ResourceId
    interval: Interval = 3600
    keep: Keep = 4


class ReplicaChange(Request):
    """What is left out stays."""

    interval: Interval | None = None
    keep: Keep | None = None
    paused: Truth | None = None


class AddressWire(Request):
    """What an adapter's guest is told at the other side: an address with its prefix length, and a gateway."""

    mac_address: Annotated[str, Field(min_length=17, max_length=17)]
    address: Annotated[str, Field(max_length=64)] | None = None
    gateway: Annotated[str, Field(max_length=64)] | None = None


class MemberWire(Request):
    """A machine of a plan. order: lower ones are up before higher ones begin; delay: seconds within its order; check: the sign of life
    that is awaited, for `patience` seconds; line: what must appear on the console."""

    virtual_machine_id: ResourceId
    order: Annotated[Whole, Field(ge=0, le=1000)] = 0
    delay: Annotated[Whole, Field(ge=0, le=3600)] = 0
    check: Literal["none", "agent", "line"] = "none"
    line: Annotated[str, Field(max_length=255)] = ""
    patience: Annotated[Whole, Field(ge=1, le=3600)] = CHECK_PATIENCE
    addresses: Annotated[list[AddressWire], Field(max_length=10, default_factory=list)]


class NetworkMapping(Request):
    """At the other side `destinationNetworkId` stands for `networkId`."""

    network_id: ResourceId
    destination_network_id: ResourceId


class PlanRequest(Request):
    """promise: seconds within which all machines shall run. shutdown: for so many seconds a guest may shut down. reserve: memory for the
    machines is kept free at the other side."""

    name: Name
    host_cluster_id: ResourceId
    machines: Annotated[list[MemberWire], Field(min_length=1, max_length=MOST_MACHINES)]
    networks: Annotated[list[NetworkMapping], Field(max_length=MOST_MACHINES, default_factory=list)]
    reserve: Truth = True
    promise: Annotated[Whole, Field(ge=1, le=7 * 86_400)] = 4 * 3600
    shutdown: Annotated[Whole, Field(ge=0, le=3600)] = 120


class PlanChange(Request):
    """What is left out stays; machines and networks are replaced as a whole."""

    name: Name | None = None
    host_cluster_id: ResourceId | None = None
    machines: Annotated[list[MemberWire], Field(min_length=1, max_length=MOST_MACHINES)] | None = None
    networks: Annotated[list[NetworkMapping], Field(max_length=MOST_MACHINES)] | None = None
    reserve: Truth | None = None
    promise: Annotated[Whole, Field(ge=1, le=7 * 86_400)] | None = None
    shutdown: Annotated[Whole, Field(ge=0, le=3600)] | None = None


class PlanMemberWire(Wire):
    virtual_machine: Reference
    order: int
    delay: int
    check: str
    line: str
    patience: int
    addresses: list[dict[str, Any]]


class PlanWire(Wire):
    """state: ready or failed_over. problems: why it could not be carried out now, with the numbers. Of its machines: neededMemory, and
    freeMemory at the other side, in bytes; age: seconds that the oldest copy is behind. remnants: disks that failovers left behind;
    unfenced: of those, the ones that could still be written to, because their array does not answer."""

    id: str
    name: str
    home_host_cluster: Reference | None
    host_cluster: Reference
    state: str
    reserve: bool
    promise: int
    shutdown: int
    machines: list[PlanMemberWire]
    networks: list[NetworkMapping]
    problems: list[str]
    needed_memory: int
    free_memory: int
    age: float | None
    remnants: int
    unfenced: int


class ExplanationWire(Wire):
    """What a run would do, step by step. problems: why it is refused."""

    steps: list[str]
    problems: list[str]
    remarks: list[str]
    needed_memory: int
    free_memory: int
    age: float | None


class TestRequest(Request):
    """hold: seconds for which the machines stay up before all is removed."""

    hold: Annotated[Whole, Field(ge=0, le=86_400)] = 0


class ReplicaTestRequest(TestRequest):
    """pointId: this point instead of the last one."""

    point_id: ResourceId | None = None


class FailoverRequest(Request):
    """planned: the source answers, machines are shut down, nothing is lost. unplanned: the last complete points are used.
    sourceIsDown: the word of a person that the old zone is off, where that cannot be found out."""

    kind: Literal["planned", "unplanned", "failback"]
    source_is_down: Truth = False


class ReplicaFailoverRequest(FailoverRequest):
    """pointId: this point instead of the last one, of an unplanned failover."""

    point_id: ResourceId | None = None


class RunWire(Wire):
    """report: what was signed, null while the run goes on. genuine: whether it is as it was signed."""

    id: str
    subject_id: str
    name: str
    kind: str
    state: str
    promise: int
    started_at: str
    ended_at: str | None
    steps: list[dict[str, Any]]
    report: dict[str, Any] | None
    hash: str
    seal: str
    key_id: str
    genuine: bool

"""The ports to the world: hosts, hypervisor, array, fabric, chassis.

Areas know only these; drivers are chosen by the inventory (see `engines.rack`). Rules for every driver:

- Every call is idempotent: check, then do. A call repeated after a crash finds its own earlier effect and returns the same.
- A call that cannot enforce what it is asked for (a limit, a fence) raises `Unsupported`; it never accepts silently.
- Sizes are bytes, durations seconds. Ids are UUID strings and are the only names that reach files, exports and domains.
- Failures raise an `EngineError` (see `engines.errors`); whatever outlives its deadline raises `Unreachable`.
"""

from naos.engines.ports.array import Array
from naos.engines.ports.chassis import BladePower, Chassis
from naos.engines.ports.fabric import Fabric, VlanSpec, guest_port
from naos.engines.ports.host import Completed, Host
from naos.engines.ports.hypervisor import (
    BladeFacts,
    BladeGpu,
    DomainCdrom,
    DomainController,
    DomainDisk,
    DomainEvent,
    DomainNic,
    DomainSample,
    DomainSpec,
    DomainStatistics,
    Endpoint,
    Hypervisor,
    MigrationLimits,
    PowerState,
    Processor,
    SerialStream,
)
from naos.engines.ports.points import (
    Damage,
    DiskPoint,
    Door,
    Incoming,
    Outgoing,
    Point,
    PointSource,
    PointStore,
    Unfinished,
    Verdict,
)
from naos.engines.ports.rack import Rack
from naos.engines.ports.volumes import (
    LATENCY_BOUNDS_NS,
    DiskCopy,
    DiskFacts,
    ExportedDisk,
    IoCounters,
    JobState,
    LunContents,
    LunKey,
    LunSpec,
    LunUsage,
    NbdAddress,
    Peer,
    Provisioning,
)

__all__ = [
    "LATENCY_BOUNDS_NS",
    "Array",
    "BladeFacts",
    "BladeGpu",
    "BladePower",
    "Chassis",
    "Completed",
    "Damage",
    "DiskCopy",
    "DiskFacts",
    "DiskPoint",
    "DomainCdrom",
    "DomainController",
    "DomainDisk",
    "DomainEvent",
    "DomainNic",
    "DomainSample",
    "DomainSpec",
    "DomainStatistics",
    "Door",
    "Endpoint",
    "ExportedDisk",
    "Fabric",
    "Host",
    "Hypervisor",
    "Incoming",
    "IoCounters",
    "JobState",
    "LunContents",
    "LunKey",
    "LunSpec",
    "LunUsage",
    "MigrationLimits",
    "NbdAddress",
    "Outgoing",
    "Peer",
    "Point",
    "PointSource",
    "PointStore",
    "PowerState",
    "Processor",
    "Provisioning",
    "Rack",
    "SerialStream",
    "Unfinished",
    "Verdict",
    "VlanSpec",
    "guest_port",
]

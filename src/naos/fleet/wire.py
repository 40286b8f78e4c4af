"""The fleet on the wire: a region is a machine manager (vCenter), a zone a virtual datacenter, a cpool a host cluster."""

import uuid

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.orm import Session

from naos.errors import Unknown
from naos.fleet.models import Blade, Cpool, Region, Zone
from naos.names import Name
from naos.wire import Reference, Request, Whole, Wire

API_VERSION = "7.0.3.0"
"""The version of the vSphere interface whose shapes are served; clients compare it."""


class Worker(Wire):
    id: str
    name: str
    full_name: str
    vendor: str = "naos"
    version: str = "7.0.3"
    build: int = 0
    locale_version: str = "INTL"
    locale_build: int = 0
    os_type: str = "linux-x64"
    product_line_id: str = "naos"
    api_type: str = "VirtualCenter"
    api_version: str = API_VERSION
    instance_uuid: str
    license_product_name: str = "naos"
    license_product_version: int = 7
    tenant_id: str
    tenant_name: str


class VirtualDatacenter(Wire):
    id: str
    name: str
    tenant_id: str
    machine_manager: Reference


class Member(Wire):
    id: str
    type: str


class ClusterMetrics(Wire):
    """Processor in MHz, the rest in bytes. Used is what was seen last; `reserved_memory`, what is set aside for running
    machines, is naos' own addition."""

    total_cpu: int
    total_memory: int
    total_storage: int
    cpu_used: int
    memory_used: int
    storage_used: int
    reserved_memory: int


class PoolAlarm(Wire):
    id: str
    status: str
    message: str


class HostCluster(Wire):
    """From `model` on they are naos' own additions. Memory in bytes: `metrics.total_memory` is enabled, between the two bounds.

    vcpu_rate: vCPUs that may run for each core, null for any number. memory_overcommit: how many times what there is machines may
    be given.
    """

    id: str
    name: str
    moref: str
    hosts: list[Member]
    metrics: ClusterMetrics
    virtual_machines_number: int
    machine_manager: Reference
    datacenter: Reference
    model: str
    status: str
    minimum_memory: int
    maximum_memory: int
    vcpu_rate: float | None
    memory_overcommit: float
    automation_level: str
    balance_threshold: int
    triggered_alarms: list[PoolAlarm]


class Esx(Wire):
    version: str
    build: int = 0
    full_name: str


class HostCpu(Wire):
    overall_cpu_usage: int
    cpu_mhz: int
    cpu_cores: int
    cpu_threads: int


class HostMemory(Wire):
    """`memory_size`: bytes. `memory_usage`: MiB, as the wire wants it."""

    memory_size: int
    memory_usage: int


class HostMetrics(Wire):
    esx: Esx
    cpu: HostCpu
    memory: HostMemory
    maintenance_mode: bool
    uptime: int | None = Field(default=None, description="Not measured.")
    connected: bool


class Host(Wire):
    """From `acceleration` on they are naos' own additions. maintenance: empty for a blade that takes machines, else entering, cancelling
    or maintenance. build: the hypervisor build that was installed last; build_available: a later one, empty when it has it."""

    id: str
    name: str
    moref: str
    machine_manager: Reference
    metrics: HostMetrics
    virtual_machines: list[Member]
    host_cluster: Reference
    acceleration: str
    maintenance: str
    build: str
    build_available: str


class PoolCpu(Wire):
    """MHz. Nothing of the processors is reserved."""

    max_usage: int
    reservation_used: int = 0


class PoolMemory(Wire):
    """Bytes. Guests have no balloon: what they are given they keep."""

    max_usage: int
    reservation_used: int
    ballooned_memory: int = 0


class PoolMetrics(Wire):
    cpu: PoolCpu
    memory: PoolMemory


class ResourcePool(Wire):
    """The one pool of a cpool: everything that it has."""

    id: str
    name: str
    moref: str
    parent: Member
    metrics: PoolMetrics
    machine_manager: Reference


class Folder(Wire):
    """`type` and `datacenter` are naos' own additions."""

    id: str
    name: str
    machine_manager: Reference
    type: str
    datacenter: Reference


class CpoolRequest(Request):
    """`memory`: bytes to enable in all; left out, the floor of the model. `hosts`: how many blades."""

    name: Name
    datacenter_id: str = Field(description="Id or name of the availability zone.")
    model: str = Field(description="Blade model of the catalogue, for example `ECO v3`.")
    hosts: Whole
    memory: Whole | None = None


def moref(kind: str, identifier: str) -> str:
    """A stable vSphere-style reference such as ``domain-c1041``, for clients that show it."""
    return f"{kind}{uuid.UUID(identifier).int % 10**8}"


def manager_of(session: Session, zone: str) -> Reference:
    """The region of a zone, as a machine manager. Raises Unknown."""
    region = session.scalar(sa.select(Region).join(Zone, Zone.region == Region.name).where(Zone.name == zone))
    if region is None:
        raise Unknown("zone", zone)
    return Reference(id=region.id, name=region.name)


def datacenter_of(session: Session, zone: str) -> Reference:
    """A zone as a virtual datacenter. Raises Unknown."""
    found = session.scalar(sa.select(Zone).where(Zone.name == zone))
    if found is None:
        raise Unknown("zone", zone)
    return Reference(id=found.id, name=found.name)


def cluster_of(session: Session, cpool_id: str) -> Reference:
    cpool = session.get_one(Cpool, cpool_id)
    return Reference(id=cpool.id, name=cpool.name)


def blade_reference(session: Session, name: str | None) -> Reference | None:
    blade = session.scalar(sa.select(Blade).where(Blade.name == name)) if name else None
    return Reference(id=blade.id, name=blade.name) if blade else None

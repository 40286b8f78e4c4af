"""The fleet's rows as clients see them. Nothing here asks the tables: what a shape needs is handed in."""

from collections.abc import Sequence
from typing import Protocol

from naos.fleet import folders
from naos.fleet.models import Blade, Cpool, Maintenance, Region, Zone
from naos.fleet.places import Places, stable_id
from naos.fleet.rules import WARNED_FROM, alarm
from naos.fleet.wire import (
    ClusterMetrics,
    Esx,
    Folder,
    Host,
    HostCluster,
    HostCpu,
    HostMemory,
    HostMetrics,
    Member,
    PoolAlarm,
    PoolCpu,
    PoolMemory,
    PoolMetrics,
    ResourcePool,
    VirtualDatacenter,
    Worker,
    moref,
)
from naos.inventory.catalogues import BladeModel, memory_ceiling, memory_floor
from naos.tenancy.models import Tenant
from naos.units import MIB, size_text
from naos.wire import Reference


class PoolUse(Protocol):
    """What a cpool carries; see `compute.usage`."""

    @property
    def machines(self) -> int: ...
    @property
    def cpu(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def reserved(self) -> int: ...


class BladeUse(Protocol):
    """What a blade carries."""

    @property
    def machines(self) -> list[str]: ...
    @property
    def cpu(self) -> int: ...
    @property
    def memory(self) -> int: ...


class Space(Protocol):
    """A tenant's volumes in a zone."""

    @property
    def capacity(self) -> int: ...
    @property
    def used(self) -> int: ...


def worker(region: Region, tenant: Tenant) -> Worker:
    return Worker(
        id=region.id,
        name=region.name,
        full_name=f"naos region {region.name}",
        instance_uuid=region.id,
        tenant_id=tenant.id,
        tenant_name=tenant.name,
    )


def zone(places: Places, found: Zone, tenant_id: str) -> VirtualDatacenter:
    return VirtualDatacenter(
        id=found.id, name=found.name, tenant_id=tenant_id, machine_manager=places.manager(found.name)
    )


def _megahertz(model: BladeModel, blades: int = 1) -> int:
    return int(model.base_ghz * 1000) * model.cores * blades


def cluster(
    places: Places, cpool: Cpool, model: BladeModel, blades: Sequence[Blade], used: PoolUse, storage: Space
) -> HostCluster:
    return HostCluster(
        id=cpool.id,
        name=cpool.name,
        moref=moref("domain-c", cpool.id),
        hosts=[Member(id=moref("host-", blade.id), type="HostSystem") for blade in blades],
        metrics=ClusterMetrics(
            total_cpu=_megahertz(model, len(blades)),
            total_memory=cpool.memory,
            total_storage=storage.capacity,
            cpu_used=used.cpu,
            memory_used=used.memory,
            storage_used=storage.used,
            reserved_memory=used.reserved,
        ),
        virtual_machines_number=used.machines,
        machine_manager=places.manager(cpool.zone),
        datacenter=places.datacenter(cpool.zone),
        model=cpool.model,
        status=cpool.lifecycle,
        minimum_memory=memory_floor(model, len(blades)),
        maximum_memory=memory_ceiling(model, len(blades)),
        vcpu_rate=cpool.vcpu_rate / 100 if cpool.vcpu_rate is not None else None,
        memory_overcommit=cpool.memory_overcommit / 100,
        automation_level=cpool.automation,
        balance_threshold=cpool.balance_threshold,
        triggered_alarms=_alarms(cpool, len(blades), used.reserved),
    )


def _alarms(cpool: Cpool, blades: int, reserved: int) -> list[PoolAlarm]:
    """Above an average of 85 % a blade, hypervisors begin to press their guests."""
    status = alarm(used=reserved, enabled=cpool.memory)
    if status is None or not blades:
        return []
    each, share = size_text(reserved // blades), reserved * 100 // cpool.memory
    message = (
        f"The machines of {cpool.name} have {each} of memory on an average blade, {share} % of the {size_text(cpool.memory // blades)} "
        f"enabled for each; stay at {WARNED_FROM} % or below. Enable more memory, add a blade, or stop machines."
    )
    return [PoolAlarm(id="memory", status=status, message=message)]


def host(places: Places, blade: Blade, cpool: Cpool, model: BladeModel, used: BladeUse, offered: str) -> Host:
    """offered: the version of the latest hypervisor build, "" when there is none."""
    return Host(
        id=blade.id,
        name=blade.name,
        moref=moref("host-", blade.id),
        machine_manager=places.manager(blade.zone),
        metrics=HostMetrics(
            esx=Esx(version=blade.hypervisor_version, full_name=f"QEMU {blade.hypervisor_version}".strip()),
            cpu=HostCpu(
                overall_cpu_usage=used.cpu,
                cpu_mhz=int(model.base_ghz * 1000),
                cpu_cores=model.cores,
                cpu_threads=model.threads,
            ),
            memory=HostMemory(memory_size=model.physical_memory, memory_usage=used.memory // MIB),
            maintenance_mode=blade.maintenance == Maintenance.RESTING,
            connected=blade.connected,
        ),
        virtual_machines=[Member(id=moref("vm-", machine), type="VirtualMachine") for machine in used.machines],
        host_cluster=Reference(id=cpool.id, name=cpool.name),
        acceleration=blade.acceleration,
        maintenance=blade.maintenance,
        build=blade.build,
        build_available=offered if offered != blade.build else "",
    )


def resource_pool_id(cpool: Cpool) -> str:
    return stable_id(cpool.id, "resource pool")


def resource_pool(
    places: Places, cpool: Cpool, model: BladeModel, blades: Sequence[Blade], used: PoolUse
) -> ResourcePool:
    identifier = resource_pool_id(cpool)
    return ResourcePool(
        id=identifier,
        name=cpool.name,
        moref=moref("resgroup-", identifier),
        parent=Member(id=moref("domain-c", cpool.id), type="ClusterComputeResource"),
        metrics=PoolMetrics(
            cpu=PoolCpu(max_usage=_megahertz(model, len(blades))),
            memory=PoolMemory(max_usage=cpool.memory, reservation_used=used.reserved),
        ),
        machine_manager=places.manager(cpool.zone),
    )


def folder(places: Places, found: folders.Folder) -> Folder:
    return Folder(
        id=found.id,
        name=found.name,
        machine_manager=places.manager(found.zone),
        type=found.name,
        datacenter=places.datacenter(found.zone),
    )

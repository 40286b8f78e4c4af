"""Regions, zones, cpools and blades over HTTP (wire-API sections 4.1 to 4.4)."""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import usage
from naos.errors import Unknown
from naos.fleet import cpools
from naos.fleet.models import Blade, Cpool, Region, Zone
from naos.fleet.wire import (
    ClusterMetrics,
    CpoolRequest,
    Esx,
    Host,
    HostCluster,
    HostCpu,
    HostMemory,
    HostMetrics,
    Member,
    VirtualDatacenter,
    Worker,
    cluster_of,
    datacenter_of,
    manager_of,
    moref,
)
from naos.identity import Identity
from naos.tenancy.models import Tenant
from naos.wire import Reference
from naos.world import World

router = APIRouter(prefix="/compute/v1/vcenters", tags=["Cpools and blades"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


def _worker(session: Session, region: Region, tenant_id: str) -> Worker:
    tenant = session.get_one(Tenant, tenant_id)
    return Worker(
        id=region.id,
        name=region.name,
        full_name=f"naos region {region.name}",
        instance_uuid=region.id,
        tenant_id=tenant.id,
        tenant_name=tenant.name,
    )


@router.get("")
def list_workers(identity: Reader, services: ServicesOf) -> list[Worker]:
    """The regions; the wire API calls each a machine manager."""
    with services.database.read() as session:
        regions = session.scalars(sa.select(Region).order_by(Region.name))
        return [_worker(session, region, identity.tenant_id) for region in regions]


def _datacenter(session: Session, zone: Zone, tenant_id: str) -> VirtualDatacenter:
    return VirtualDatacenter(
        id=zone.id, name=zone.name, tenant_id=tenant_id, machine_manager=manager_of(session, zone.name)
    )


@router.get("/virtual_datacenters")
def list_zones(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803
) -> list[VirtualDatacenter]:
    """The availability zones."""
    with services.database.read() as session:
        zones = [
            _datacenter(session, zone, identity.tenant_id)
            for zone in session.scalars(sa.select(Zone).order_by(Zone.name))
        ]
    return [zone for zone in zones if name in (None, zone.name) and machineManagerId in (None, zone.machine_manager.id)]


@router.get("/virtual_datacenters/{zone_id}")
def read_zone(zone_id: ResourceId, identity: Reader, services: ServicesOf) -> VirtualDatacenter:
    """One availability zone."""
    with services.database.read() as session:
        zone = session.get(Zone, zone_id)
        if zone is None:
            raise Unknown("zone", zone_id)
        return _datacenter(session, zone, identity.tenant_id)


def _cluster(session: Session, world: World, cpool: Cpool) -> HostCluster:
    blades = cpools.blades_of(session, [cpool.id])
    model = cpools.model_of(world, cpool.model)
    used = usage.of_cpool(session, cpool)
    return HostCluster(
        id=cpool.id,
        name=cpool.name,
        moref=moref("domain-c", cpool.id),
        hosts=[Member(id=moref("host-", blade.id), type="HostSystem") for blade in blades],
        metrics=ClusterMetrics(
            total_cpu=int(model.base_ghz * 1000) * model.cores * len(blades),
            total_memory=cpool.memory,
            total_storage=used.storage,
            cpu_used=used.cpu * int(model.base_ghz * 1000),
            memory_used=used.memory,
            storage_used=used.storage_used,
        ),
        virtual_machines_number=used.machines,
        machine_manager=manager_of(session, cpool.zone),
        datacenter=datacenter_of(session, cpool.zone),
        model=cpool.model,
        status=cpool.lifecycle,
    )


@router.get("/host_clusters")
def list_cpools(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    datacenterId: str | None = None,  # noqa: N803
) -> list[HostCluster]:
    """The tenant's cpools."""
    query = sa.select(Cpool).where(Cpool.tenant_id == identity.tenant_id).order_by(Cpool.name)
    with services.database.read() as session:
        found = [_cluster(session, services.world, cpool) for cpool in session.scalars(query)]
    return [cpool for cpool in found if name in (None, cpool.name) and datacenterId in (None, cpool.datacenter.id)]


@router.get("/host_clusters/{cpool_id}")
def read_cpool(cpool_id: ResourceId, identity: Reader, services: ServicesOf) -> HostCluster:
    """One cpool."""
    with services.database.read() as session:
        return _cluster(session, services.world, cpools.find(session, identity.tenant_id, cpool_id))


@router.post("/host_clusters", **ASYNCHRONOUS)
def create_cpool(body: CpoolRequest, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Take free blades of one model and zone into a new cpool."""

    def check(session: Session) -> Any:
        return cpools.plan_create(
            session,
            services.world,
            tenant_id=identity.tenant_id,
            name=body.name,
            zone=cpools.find_zone(session, body.datacenter_id).name,
            model=body.model,
            blades=body.hosts,
            memory=body.memory,
        )

    return submit(services, identity, key, check)


def _host(session: Session, world: World, blade: Blade) -> Host:
    model = cpools.model_of(world, blade.model)
    machines = usage.on_blade(session, blade.name)
    cluster = cluster_of(session, blade.cpool_id) if blade.cpool_id else None
    return Host(
        id=blade.id,
        name=blade.name,
        moref=moref("host-", blade.id),
        machine_manager=manager_of(session, blade.zone),
        metrics=HostMetrics(
            esx=Esx(version=blade.hypervisor_version, full_name=f"QEMU {blade.hypervisor_version}".strip()),
            cpu=HostCpu(
                overall_cpu_usage=sum(machine.cpu for machine in machines) * int(model.base_ghz * 1000),
                cpu_mhz=int(model.base_ghz * 1000),
                cpu_cores=model.cores,
                cpu_threads=model.threads,
            ),
            memory=HostMemory(
                memory_size=model.physical_memory,
                memory_usage=sum(machine.reserved for machine in machines) // 2**20,
            ),
            connected=blade.connected,
        ),
        virtual_machines=[Member(id=moref("vm-", machine.id), type="VirtualMachine") for machine in machines],
        host_cluster=Reference(id=cluster.id, name=cluster.name) if cluster else None,
        acceleration=blade.acceleration,
    )


@router.get("/hosts")
def list_blades(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    datacenterId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
) -> list[Host]:
    """The blades of the tenant's cpools."""
    query = (
        sa.select(Blade)
        .join(Cpool, Cpool.id == Blade.cpool_id)
        .where(Cpool.tenant_id == identity.tenant_id)
        .order_by(Blade.name)
    )
    if name is not None:
        query = query.where(Blade.name == name)
    if hostClusterId is not None:
        query = query.where(Blade.cpool_id == hostClusterId)
    with services.database.read() as session:
        if datacenterId is not None:
            zone = session.get(Zone, datacenterId)
            query = query.where(Blade.zone == (zone.name if zone else ""))
        return [_host(session, services.world, blade) for blade in session.scalars(query)]


@router.get("/hosts/{blade_id}")
def read_blade(blade_id: ResourceId, identity: Reader, services: ServicesOf) -> Host:
    """One blade of the tenant's cpools."""
    with services.database.read() as session:
        blade = session.get(Blade, blade_id)
        if blade is None or blade.cpool_id is None:
            raise Unknown("blade", blade_id)
        if session.get_one(Cpool, blade.cpool_id).tenant_id != identity.tenant_id:
            raise Unknown("blade", blade_id)
        return _host(session, services.world, blade)


@router.get("/{worker_id:uuid}")
def read_worker(worker_id: ResourceId, identity: Reader, services: ServicesOf) -> Worker:
    """One region. Its path takes ids only, so that it stands beside the collections."""
    with services.database.read() as session:
        region = session.get(Region, worker_id)
        if region is None:
            raise Unknown("machine manager", worker_id)
        return _worker(session, region, identity.tenant_id)

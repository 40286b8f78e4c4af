"""Regions, zones, cpools, blades, resource pools and folders over HTTP (wire-API sections 4.1 to 4.6).

Every list and read is a fixed number of statements, and lists are in the order of names, then ids.
"""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import usage
from naos.errors import Unknown
from naos.fleet import build_routes, builds, cpools, folders, views
from naos.fleet.models import Blade, Cpool, Region
from naos.fleet.places import Places
from naos.fleet.wire import CpoolRequest, Folder, Host, HostCluster, ResourcePool, VirtualDatacenter, Worker
from naos.identity import Identity
from naos.tenancy.models import Tenant
from naos.world import World

router = APIRouter(prefix="/compute/v1/vcenters", tags=["Cpools and blades"])
router.include_router(build_routes.router)

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


# ---------------------------------------------------------------------------------------------------- regions and zones


@router.get("")
def list_workers(identity: Reader, services: ServicesOf) -> list[Worker]:
    """The regions; the wire API calls each a machine manager."""
    with services.database.read() as session:
        tenant = session.get_one(Tenant, identity.tenant_id)
        return [views.worker(region, tenant) for region in Places(session).regions]


@router.get("/virtual_datacenters")
def list_zones(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803 - the wire API's name, as all that follow
) -> list[VirtualDatacenter]:
    """The availability zones."""
    with services.database.read() as session:
        places = Places(session)
    wanted = places.names(manager_id=machineManagerId)
    return [
        views.zone(places, zone, identity.tenant_id)
        for zone in places.zones
        if zone.name in wanted and name in (None, zone.name)
    ]


@router.get("/virtual_datacenters/{zone_id}")
def read_zone(zone_id: ResourceId, identity: Reader, services: ServicesOf) -> VirtualDatacenter:
    """One availability zone."""
    with services.database.read() as session:
        places = Places(session)
    for zone in places.zones:
        if zone.id == zone_id:
            return views.zone(places, zone, identity.tenant_id)
    raise Unknown("zone", zone_id)


# --------------------------------------------------------------------------------------------------------------- cpools


def _mine(tenant_id: str) -> sa.Select[Cpool]:
    return sa.select(Cpool).where(Cpool.tenant_id == tenant_id).order_by(Cpool.name, Cpool.id)


def _clusters(session: Session, world: World, tenant_id: str, found: Sequence[Cpool]) -> list[HostCluster]:
    identifiers = [cpool.id for cpool in found]
    places, used = Places(session), usage.of_cpools(session, identifiers)
    blades, storage = cpools.blades_by_cpool(session, identifiers), usage.storage_of(session, tenant_id)
    return [
        views.cluster(
            places,
            cpool,
            cpools.model_of(world, cpool.model),
            blades.get(cpool.id, []),
            used.get(cpool.id, usage.PoolUsage()),
            storage.get(cpool.zone, usage.ZoneStorage()),
        )
        for cpool in found
    ]


@router.get("/host_clusters")
def list_cpools(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803
    datacenterId: str | None = None,  # noqa: N803
    datastoreId: str | None = None,  # noqa: N803
    datastoreClusterId: str | None = None,  # noqa: N803
) -> list[HostCluster]:
    """The tenant's cpools. A cpool reaches every datastore of its zone."""
    with services.database.read() as session:
        within = usage.zones_of_storage(session, identity.tenant_id, lun_id=datastoreId, cluster_id=datastoreClusterId)
        zones = Places(session).names(manager_id=machineManagerId, datacenter_id=datacenterId, within=within)
        query = _mine(identity.tenant_id).where(Cpool.zone.in_(zones))
        if name is not None:
            query = query.where(Cpool.name == name)
        return _clusters(session, services.world, identity.tenant_id, list(session.scalars(query)))


@router.get("/host_clusters/{cpool_id}")
def read_cpool(cpool_id: ResourceId, identity: Reader, services: ServicesOf) -> HostCluster:
    """One cpool."""
    with services.database.read() as session:
        cpool = cpools.find(session, identity.tenant_id, cpool_id)
        return _clusters(session, services.world, identity.tenant_id, [cpool])[0]


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


# --------------------------------------------------------------------------------------------------------------- blades


def _hosts(session: Session, world: World, found: Sequence[tuple[Blade, Cpool]]) -> list[Host]:
    places, used = Places(session), usage.of_blades(session, [blade.name for blade, _ in found])
    offered = builds.latest(session)
    return [
        views.host(
            places,
            blade,
            cpool,
            cpools.model_of(world, blade.model),
            used.get(blade.name, usage.BladeUsage()),
            offered,
        )
        for blade, cpool in found
    ]


@router.get("/hosts")
def list_blades(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803
    datacenterId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
    datastoreId: str | None = None,  # noqa: N803
) -> list[Host]:
    """The blades of the tenant's cpools. A blade reaches every datastore of its zone."""
    with services.database.read() as session:
        within = usage.zones_of_storage(session, identity.tenant_id, lun_id=datastoreId, cluster_id=None)
        zones = Places(session).names(manager_id=machineManagerId, datacenter_id=datacenterId, within=within)
        query = (
            sa.select(Blade, Cpool)
            .join(Cpool, Cpool.id == Blade.cpool_id)
            .where(Cpool.tenant_id == identity.tenant_id, Blade.zone.in_(zones))
            .order_by(Blade.name, Blade.id)
        )
        if name is not None:
            query = query.where(Blade.name == name)
        if hostClusterId is not None:
            query = query.where(Blade.cpool_id == hostClusterId)
        return _hosts(session, services.world, [(blade, cpool) for blade, cpool in session.execute(query)])


@router.get("/hosts/{blade_id}")
def read_blade(blade_id: ResourceId, identity: Reader, services: ServicesOf) -> Host:
    """One blade of the tenant's cpools."""
    with services.database.read() as session:
        blade = session.get(Blade, blade_id)
        cpool = session.get(Cpool, blade.cpool_id) if blade is not None and blade.cpool_id else None
        if blade is None or cpool is None or cpool.tenant_id != identity.tenant_id:
            raise Unknown("blade", blade_id)
        return _hosts(session, services.world, [(blade, cpool)])[0]


# ------------------------------------------------------------------------------------------- resource pools and folders


def _resource_pools(session: Session, world: World, found: Sequence[Cpool]) -> list[ResourcePool]:
    identifiers = [cpool.id for cpool in found]
    places, used = Places(session), usage.of_cpools(session, identifiers)
    blades = cpools.blades_by_cpool(session, identifiers)
    return [
        views.resource_pool(
            places,
            cpool,
            cpools.model_of(world, cpool.model),
            blades.get(cpool.id, []),
            used.get(cpool.id, usage.PoolUsage()),
        )
        for cpool in found
    ]


@router.get("/resource_pools")
def list_resource_pools(
    identity: Reader,
    services: ServicesOf,
    machineManagerId: str | None = None,  # noqa: N803
    datacenterId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
) -> list[ResourcePool]:
    """One for each cpool, of the same name: all that the cpool has."""
    with services.database.read() as session:
        zones = Places(session).names(manager_id=machineManagerId, datacenter_id=datacenterId)
        query = _mine(identity.tenant_id).where(Cpool.zone.in_(zones))
        if hostClusterId is not None:
            query = query.where(Cpool.id == hostClusterId)
        return _resource_pools(session, services.world, list(session.scalars(query)))


@router.get("/resource_pools/{pool_id}")
def read_resource_pool(pool_id: ResourceId, identity: Reader, services: ServicesOf) -> ResourcePool:
    """One resource pool."""
    with services.database.read() as session:
        for cpool in session.scalars(_mine(identity.tenant_id)):
            if views.resource_pool_id(cpool) == pool_id:
                return _resource_pools(session, services.world, [cpool])[0]
    raise Unknown("resource pool", pool_id)


@router.get("/folders")
def list_folders(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803
    datacenterId: str | None = None,  # noqa: N803
) -> list[Folder]:
    """Two in each zone: `vm` holds its machines, `network` its networks."""
    with services.database.read() as session:
        places = Places(session)
    wanted = places.names(manager_id=machineManagerId, datacenter_id=datacenterId)
    return [
        views.folder(places, folder)
        for folder in folders.folders(places, identity.tenant_id)
        if folder.zone in wanted and name in (None, folder.name)
    ]


@router.get("/folders/{folder_id}")
def read_folder(folder_id: ResourceId, identity: Reader, services: ServicesOf) -> Folder:
    """One folder."""
    with services.database.read() as session:
        places = Places(session)
    for folder in folders.folders(places, identity.tenant_id):
        if folder.id == folder_id:
            return views.folder(places, folder)
    raise Unknown("folder", folder_id)


@router.get("/{worker_id:uuid}")
def read_worker(worker_id: UUID, identity: Reader, services: ServicesOf) -> Worker:
    """One region. Its path takes ids only, so that it stands beside the collections."""
    with services.database.read() as session:
        region = session.get(Region, str(worker_id))
        if region is None:
            raise Unknown("machine manager", str(worker_id))
        return views.worker(region, session.get_one(Tenant, identity.tenant_id))

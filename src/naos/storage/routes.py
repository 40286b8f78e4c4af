"""Volumes over HTTP (wire-API section 4.8, and their ordering)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.engines.errors import EngineError
from naos.engines.ports import LunUsage
from naos.fleet import cpools
from naos.fleet.models import Blade, Cpool
from naos.fleet.wire import datacenter_of, manager_of, moref
from naos.identity import Identity
from naos.inventory.catalogues import iops_limit
from naos.lifecycle import Lifecycle
from naos.storage import luns
from naos.storage.models import Disk, Lun
from naos.storage.wire import Datastore, GrowthRequest, LunRequest
from naos.world import World

router = APIRouter(prefix="/compute/v1/vcenters/datastores", tags=["Volumes"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


def _usage(world: World, lun: Lun) -> LunUsage | None:
    """What the array says of it; None while it does not answer."""
    if lun.lifecycle != Lifecycle.ACTIVE:
        return None
    try:
        return luns.usage(world, lun.id)
    except EngineError:
        return None


def _datastore(session: Session, world: World, lun: Lun, measured: LunUsage | None) -> Datastore:
    hosts = list(
        session.scalars(
            sa.select(Blade.name)
            .join(Cpool, Cpool.id == Blade.cpool_id)
            .where(Cpool.tenant_id == lun.tenant_id, Cpool.zone == lun.zone)
            .order_by(Blade.name)
        )
    )
    machines = sa.select(sa.func.count(sa.distinct(Disk.machine_id))).where(Disk.lun_id == lun.id)
    return Datastore(
        id=lun.id,
        name=lun.name,
        machine_manager=manager_of(session, lun.zone),
        moref=moref("datastore-", lun.id),
        max_capacity=lun.capacity,
        free_capacity=measured.free if measured else 0,
        accessible=1 if measured else 0,
        unique_id=lun.id,
        virtual_machines_number=session.scalar(machines) or 0,
        hosts_number=len(hosts),
        hosts_names=hosts,
        associated_folder=lun.zone,
        storage_class=lun.storage_class,
        iops=iops_limit(world.storage.classes[lun.storage_class], lun.capacity),
        datacenter=datacenter_of(session, lun.zone),
        status=lun.lifecycle,
    )


@router.get("")
def list_volumes(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    datacenterId: str | None = None,  # noqa: N803
) -> list[Datastore]:
    """The tenant's volumes, with the free space that each array measures."""
    with services.database.read() as session:
        rows = list(session.scalars(sa.select(Lun).where(Lun.tenant_id == identity.tenant_id).order_by(Lun.name)))
    measured = {lun.id: _usage(services.world, lun) for lun in rows}
    with services.database.read() as session:
        shown = [_datastore(session, services.world, lun, measured[lun.id]) for lun in rows]
    return [lun for lun in shown if name in (None, lun.name) and datacenterId in (None, lun.datacenter.id)]


@router.get("/{lun_id}")
def read_volume(lun_id: ResourceId, identity: Reader, services: ServicesOf) -> Datastore:
    """One volume."""
    with services.database.read() as session:
        lun = luns.find(session, identity.tenant_id, lun_id)
    measured = _usage(services.world, lun)
    with services.database.read() as session:
        return _datastore(session, services.world, lun, measured)


@router.post("", **ASYNCHRONOUS)
def create_volume(body: LunRequest, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Create a volume of an IOPS class."""
    return submit(
        services,
        identity,
        key,
        lambda session: luns.plan_create(
            session,
            services.world,
            tenant_id=identity.tenant_id,
            name=body.name,
            zone=cpools.find_zone(session, body.datacenter_id).name,
            storage_class=body.storage_class,
            size=body.capacity,
        ),
    )


@router.patch("", **ASYNCHRONOUS)
def grow_volume(body: GrowthRequest, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Grow a volume; its IOPS limit grows with it at once."""
    return submit(
        services,
        identity,
        key,
        lambda session: luns.plan_extend(
            session, services.world, tenant_id=identity.tenant_id, lun_id=body.id, size=body.capacity
        ),
    )

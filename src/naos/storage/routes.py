"""Volumes over HTTP (wire-API section 4.8, and their ordering). Lists and reads are a fixed number of statements and no call
of an array: they show the space that was measured last."""

from collections.abc import Sequence
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.fleet import cpools
from naos.fleet.places import Places
from naos.identity import Identity
from naos.storage import (
    classes,
    cluster_routes,
    clusters,
    figure_routes,
    growth_routes,
    luns,
    space,
    space_routes,
    views,
    volume_keys,
)
from naos.storage.master_keys import Keyring
from naos.storage.models import ClusterMember, Lun, LunSample
from naos.storage.wire import Datastore, LunChange, LunRequest
from naos.world import World

router = APIRouter(tags=["Volumes"])
router.include_router(cluster_routes.router)
router.include_router(figure_routes.router)
router.include_router(space_routes.router)
router.include_router(growth_routes.router)
datastores = APIRouter(prefix="/compute/v1/vcenters/datastores")

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


def _datastores(
    session: Session, world: World, tenant_id: str, found: Sequence[tuple[Lun, LunSample | None]]
) -> list[Datastore]:
    places, hosts = Places(session), views.hosts_by_zone(session, tenant_id)
    machines = views.machines_by_lun(session, tenant_id)
    groups = clusters.cluster_of(session, [lun.id for lun, _ in found])
    promised = space.promises(session, [lun.id for lun, _ in found])
    return [
        views.datastore(
            places,
            world.storage.classes[lun.storage_class],
            lun,
            sample,
            hosts=[host.name for host in hosts.get(lun.zone, [])],
            machines=machines.get(lun.id, 0),
            cluster=groups.get(lun.id),
            promised=promised[lun.id],
        )
        for lun, sample in found
    ]


@datastores.get("")
def list_volumes(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803 - the wire API's name, as all that follow
    datacenterId: str | None = None,  # noqa: N803
    hostId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
    datastoreClusterId: str | None = None,  # noqa: N803
) -> list[Datastore]:
    """The tenant's volumes, with the space that their arrays named last. A volume is reached by every blade of its zone."""
    with services.database.read() as session:
        within = views.zones_of_hosts(session, identity.tenant_id, blade_id=hostId, cpool_id=hostClusterId)
        zones = Places(session).names(manager_id=machineManagerId, datacenter_id=datacenterId, within=within)
        query = (
            sa.select(Lun, LunSample)
            .outerjoin(LunSample, LunSample.lun_id == Lun.id)
            .where(Lun.tenant_id == identity.tenant_id, Lun.zone.in_(zones))
            .order_by(Lun.name, Lun.id)
        )
        if name is not None:
            query = query.where(Lun.name == name)
        if datastoreClusterId is not None:
            query = query.join(ClusterMember, ClusterMember.lun_id == Lun.id).where(
                ClusterMember.cluster_id == datastoreClusterId
            )
        found = [(lun, sample) for lun, sample in session.execute(query)]
        return _datastores(session, services.world, identity.tenant_id, found)


@datastores.get("/{lun_id}")
def read_volume(lun_id: ResourceId, identity: Reader, services: ServicesOf) -> Datastore:
    """One volume, with the space that its array named last."""
    with services.database.read() as session:
        lun = luns.find(session, identity.tenant_id, lun_id)
        found = [(lun, session.get(LunSample, lun_id))]
        return _datastores(session, services.world, identity.tenant_id, found)[0]


@datastores.post("", **ASYNCHRONOUS)
def create_volume(body: LunRequest, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Create a volume of an IOPS class."""
    # before the transaction: a key server may take its time
    master = volume_keys.newest(Keyring.of(services.world.settings)) if body.encrypted else None
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
            master=master,
        ),
    )


@datastores.patch("", **ASYNCHRONOUS)
def change_volume(body: LunChange, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Grow a volume, and its IOPS limit with it, or give it another IOPS class: both at once, under what runs on it."""

    def check(session: Session) -> Plan:
        world, of = services.world, {"tenant_id": identity.tenant_id, "lun_id": body.id}
        match body.capacity, body.storage_class:
            case int(size), None:
                return luns.plan_extend(session, world, **of, size=size)
            case None, str(storage_class):
                return classes.plan_change(session, world, **of, storage_class=storage_class)
            case given:
                raise classes.OneChange(sum(value is not None for value in given))

    return submit(services, identity, key, check)


router.include_router(datastores)

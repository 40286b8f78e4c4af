"""Datastore clusters over HTTP (wire-API section 4.7, and their making)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.fleet.places import Places
from naos.identity import Identity
from naos.storage import clusters, views
from naos.storage.models import DatastoreCluster
from naos.storage.wire import ClusterChange, ClusterRequest
from naos.storage.wire import DatastoreCluster as Shown

router = APIRouter(prefix="/compute/v1/vcenters/datastore_clusters")

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.get("")
def list_clusters(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803 - the wire API's name, as all that follow
    datacenterId: str | None = None,  # noqa: N803
    hostId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
) -> list[Shown]:
    """The tenant's datastore clusters."""
    with services.database.read() as session:
        within = views.zones_of_hosts(session, identity.tenant_id, blade_id=hostId, cpool_id=hostClusterId)
        zones = Places(session).names(manager_id=machineManagerId, datacenter_id=datacenterId, within=within)
        query = (
            sa.select(DatastoreCluster)
            .where(DatastoreCluster.tenant_id == identity.tenant_id, DatastoreCluster.zone.in_(zones))
            .order_by(DatastoreCluster.name, DatastoreCluster.id)
        )
        if name is not None:
            query = query.where(DatastoreCluster.name == name)
        return views.shown_clusters(session, list(session.scalars(query)))


@router.get("/{cluster_id}")
def read_cluster(cluster_id: ResourceId, identity: Reader, services: ServicesOf) -> Shown:
    """One datastore cluster."""
    with services.database.read() as session:
        return views.shown_clusters(session, [clusters.find(session, identity.tenant_id, cluster_id)])[0]


@router.post("", **ASYNCHRONOUS)
def create_cluster(body: ClusterRequest, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Gather volumes of one zone and class."""
    return submit(
        services,
        identity,
        key,
        lambda session: clusters.plan_create(
            session, tenant_id=identity.tenant_id, name=body.name, lun_ids=body.datastore_ids
        ),
    )


@router.patch("", **ASYNCHRONOUS)
def change_cluster(body: ClusterChange, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Another name, further volumes, or fewer; disks stay where they are."""
    return submit(
        services,
        identity,
        key,
        lambda session: clusters.plan_update(
            session,
            tenant_id=identity.tenant_id,
            cluster_id=body.id,
            name=body.name,
            add=body.add,
            remove=body.remove,
        ),
    )


@router.delete("/{cluster_id}", **ASYNCHRONOUS)
def delete_cluster(cluster_id: ResourceId, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Forget a datastore cluster; its volumes stay."""
    return submit(
        services,
        identity,
        key,
        lambda session: clusters.plan_delete(session, tenant_id=identity.tenant_id, cluster_id=cluster_id),
    )

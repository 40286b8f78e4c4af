"""VLANs over HTTP (wire-API section 4.9, and their making)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.fleet import cpools
from naos.fleet.models import Cpool, Region
from naos.fleet.wire import cluster_of, manager_of, moref
from naos.identity import Identity
from naos.network import vlans
from naos.network.models import Adapter, Vlan
from naos.network.wire import Network, PropagationRequest, VlanRequest
from naos.wire import Reference

router = APIRouter(prefix="/compute/v1/vcenters/networks", tags=["VLANs"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Writer = Annotated[Identity, Depends(require("network_read", "network_write"))]


def _network(session: Session, vlan: Vlan) -> Network:
    pools = vlans.pools_of(session, vlan.id)
    hosts = [blade.name for blade in cpools.blades_of(session, pools)]
    machines = sa.select(sa.func.count(sa.distinct(Adapter.machine_id))).where(Adapter.vlan_id == vlan.id)
    return Network(
        id=vlan.id,
        name=vlan.name,
        moref=moref("dvportgroup-", vlan.id),
        machine_manager=_manager(session, pools),
        virtual_machines_number=session.scalar(machines) or 0,
        host_number=len(hosts),
        host_names=hosts,
        vlan_id=vlan.tag,
        host_clusters=[cluster_of(session, pool) for pool in pools],
        status=vlan.lifecycle,
    )


def _manager(session: Session, pools: list[str]) -> Reference:
    """The region of the VLAN's cpools; one that is nowhere yet belongs to the first region."""
    if pools:
        return manager_of(session, session.get_one(Cpool, pools[0]).zone)
    region = session.scalars(sa.select(Region).order_by(Region.name)).one()
    return Reference(id=region.id, name=region.name)


@router.get("")
def list_vlans(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    hostClusterId: str | None = None,  # noqa: N803
    virtualMachineId: str | None = None,  # noqa: N803
) -> list[Network]:
    """The tenant's VLANs."""
    query = sa.select(Vlan).where(Vlan.tenant_id == identity.tenant_id).order_by(Vlan.name)
    if name is not None:
        query = query.where(Vlan.name == name)
    if virtualMachineId is not None:
        query = query.where(Vlan.id.in_(sa.select(Adapter.vlan_id).where(Adapter.machine_id == virtualMachineId)))
    with services.database.read() as session:
        found = [_network(session, vlan) for vlan in session.scalars(query)]
    return [
        vlan for vlan in found if hostClusterId is None or hostClusterId in [pool.id for pool in vlan.host_clusters]
    ]


@router.get("/{vlan_id}")
def read_vlan(vlan_id: ResourceId, identity: Reader, services: ServicesOf) -> Network:
    """One VLAN."""
    with services.database.read() as session:
        return _network(session, vlans.find(session, identity.tenant_id, vlan_id))


@router.post("", **ASYNCHRONOUS)
def create_vlan(body: VlanRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Create a VLAN and bring it to every blade of the named cpools."""
    return submit(
        services,
        identity,
        key,
        lambda session: vlans.plan_create(
            session, tenant_id=identity.tenant_id, name=body.name, cpool_ids=body.host_cluster_ids, tag=body.vlan_id
        ),
    )


@router.post("/{vlan_id}/propagations", **ASYNCHRONOUS)
def propagate_vlan(
    vlan_id: ResourceId, body: PropagationRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Bring a VLAN to more cpools."""
    return submit(
        services,
        identity,
        key,
        lambda session: vlans.plan_propagate(
            session, tenant_id=identity.tenant_id, vlan_id=vlan_id, cpool_ids=body.host_cluster_ids
        ),
    )

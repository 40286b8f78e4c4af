"""VLANs over HTTP (wire-API section 4.9, and their making). Lists and reads are a fixed number of statements."""

from collections.abc import Sequence
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.fleet.models import Blade
from naos.fleet.places import Places
from naos.identity import Identity
from naos.network import switch_routes, views, vlans
from naos.network.models import Adapter, Propagation, Vlan
from naos.network.wire import Network, PropagationRequest, VlanRequest

router = APIRouter(tags=["VLANs"])
router.include_router(switch_routes.router)
networks = APIRouter(prefix="/compute/v1/vcenters/networks")

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Writer = Annotated[Identity, Depends(require("network_read", "network_write"))]

PORT_GROUP = "DistributedVirtualPortgroup"
"""What every VLAN is to the wire API; its other type, `Network`, there is none of."""


def _networks(session: Session, tenant_id: str, found: Sequence[Vlan]) -> list[Network]:
    places, carriers = Places(session), views.carriers(session, tenant_id)
    machines = views.machines_by_vlan(session, tenant_id)
    return [views.network(places, vlan, carriers.get(vlan.id, []), machines=machines.get(vlan.id, 0)) for vlan in found]


@networks.get("")
def list_vlans(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803 - the wire API's name, as all that follow
    datacenterId: str | None = None,  # noqa: N803
    virtualMachineId: str | None = None,  # noqa: N803
    type: str | None = None,  # noqa: A002
    virtualSwitchId: str | None = None,  # noqa: N803
    hostId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
    folderId: str | None = None,  # noqa: N803
) -> list[Network]:
    """The tenant's VLANs. One that spans zones is in each of them: in its switch and in its folder `network`."""
    if type not in (None, PORT_GROUP):
        return []
    query = sa.select(Vlan).where(Vlan.tenant_id == identity.tenant_id).order_by(Vlan.name, Vlan.id)
    if name is not None:
        query = query.where(Vlan.name == name)
    if virtualMachineId is not None:
        query = query.where(Vlan.id.in_(sa.select(Adapter.vlan_id).where(Adapter.machine_id == virtualMachineId)))
    if hostId is not None:
        carried = sa.select(Propagation.vlan_id).join(Blade, Blade.cpool_id == Propagation.cpool_id)
        query = query.where(Vlan.id.in_(carried.where(Blade.id == hostId)))
    with services.database.read() as session:
        found = _networks(session, identity.tenant_id, list(session.scalars(query)))
        wanted = views.zones_of(
            Places(session),
            identity.tenant_id,
            manager_id=machineManagerId,
            datacenter_id=datacenterId,
            switch_id=virtualSwitchId,
            folder_id=folderId,
        )
    return [
        vlan
        for vlan in found
        if (wanted is None or wanted & {zone.id for zone in vlan.datacenters})
        and (hostClusterId is None or hostClusterId in {pool.id for pool in vlan.host_clusters})
    ]


@networks.get("/{vlan_id}")
def read_vlan(vlan_id: ResourceId, identity: Reader, services: ServicesOf) -> Network:
    """One VLAN."""
    with services.database.read() as session:
        vlan = vlans.find(session, identity.tenant_id, vlan_id)
        return _networks(session, identity.tenant_id, [vlan])[0]


@networks.post("", **ASYNCHRONOUS)
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


@networks.post("/{vlan_id}/propagations", **ASYNCHRONOUS)
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


router.include_router(networks)

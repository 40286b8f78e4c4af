"""Virtual switches over HTTP (wire-API section 4.10; the spelling of the path is the wire's)."""

from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import ResourceId
from naos.api.services import ServicesOf
from naos.errors import Unknown
from naos.fleet.models import Cpool
from naos.fleet.places import Places
from naos.identity import Identity
from naos.inventory.model import Inventory
from naos.network import views
from naos.network.wire import VirtualSwitch

router = APIRouter(prefix="/compute/v1/vcenters/virtual_switchs")

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]


def _switches(session: Session, inventory: Inventory, tenant_id: str) -> list[VirtualSwitch]:
    return views.switches(Places(session), inventory, tenant_id, views.carriers(session, tenant_id))


@router.get("")
def list_switches(
    identity: Reader,
    services: ServicesOf,
    name: str | None = None,
    machineManagerId: str | None = None,  # noqa: N803 - the wire API's name, as all that follow
    datacenterId: str | None = None,  # noqa: N803
    hostClusterId: str | None = None,  # noqa: N803
) -> list[VirtualSwitch]:
    """One for each zone that has blades: their bridges, and what joins them."""
    with services.database.read() as session:
        found = _switches(session, services.world.inventory, identity.tenant_id)
        zone = None
        if hostClusterId is not None:
            cpool = session.get(Cpool, hostClusterId)
            zone = cpool.zone if cpool is not None and cpool.tenant_id == identity.tenant_id else ""
    return [
        switch
        for switch in found
        if name in (None, switch.name)
        and machineManagerId in (None, switch.machine_manager.id)
        and datacenterId in (None, switch.datacenter.id)
        and zone in (None, switch.datacenter.name)
    ]


@router.get("/{switch_id}")
def read_switch(switch_id: ResourceId, identity: Reader, services: ServicesOf) -> VirtualSwitch:
    """One virtual switch."""
    with services.database.read() as session:
        for switch in _switches(session, services.world.inventory, identity.tenant_id):
            if switch.id == switch_id:
                return switch
    raise Unknown("virtual switch", switch_id)

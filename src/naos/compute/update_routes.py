"""Hypervisor updates of cpools over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import updates
from naos.compute.update_wire import Update, Updating, update_wire
from naos.identity import Identity

router = APIRouter()

Planner = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Keeper = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.get("/host_clusters/{cpool_id}/updates")
def list_updates(cpool_id: ResourceId, identity: Planner, services: ServicesOf) -> list[Update]:
    """The hypervisor updates of a cpool, the latest first."""
    with services.database.read() as session:
        return [update_wire(found) for found in updates.of_pool(session, identity.tenant_id, cpool_id)]


@router.get("/host_clusters/{cpool_id}/updates/{update_id}")
def read_update(cpool_id: ResourceId, update_id: ResourceId, identity: Planner, services: ServicesOf) -> Update:
    """How far one is, blade by blade."""
    with services.database.read() as session:
        return update_wire(updates.find(session, identity.tenant_id, cpool_id, update_id))


@router.post("/host_clusters/{cpool_id}/updates", **ASYNCHRONOUS)
def begin_update(
    cpool_id: ResourceId, body: Updating, identity: Keeper, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Bring a cpool's blades to a hypervisor build, one after the other, while machines run elsewhere. It goes on after the activity."""
    return submit(
        services,
        identity,
        key,
        lambda session: updates.plan_begin(
            session, services.world, identity.tenant_id, cpool_id, body.build_id, downtime=body.accept_downtime
        ),
    )


@router.post("/host_clusters/{cpool_id}/updates/{update_id}/cancel", **ASYNCHRONOUS)
def cancel_update(
    cpool_id: ResourceId, update_id: ResourceId, identity: Keeper, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """End an update after the blade that is in hand."""
    return submit(
        services,
        identity,
        key,
        lambda session: updates.plan_cancel(session, identity.tenant_id, cpool_id, update_id),
    )

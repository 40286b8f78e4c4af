"""Maintenance of blades over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import maintenance
from naos.compute.maintenance_wire import Entering, MaintenanceWire, maintenance_wire
from naos.compute.placement_wire import blades_by_name
from naos.identity import Identity

router = APIRouter()

Planner = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Keeper = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.get("/hosts/{blade_id}/maintenance")
def read_maintenance(blade_id: ResourceId, identity: Planner, services: ServicesOf) -> MaintenanceWire:
    """Whether a blade is in maintenance, what became of its machines, and how it would be emptied now. Nothing moves."""
    with services.database.read() as session:
        sight = maintenance.see(session, services.world, identity.tenant_id, blade_id)
        return maintenance_wire(sight, blades_by_name(session, sight.cpool.id))


@router.post("/hosts/{blade_id}/maintenance", **ASYNCHRONOUS)
def enter_maintenance(
    blade_id: ResourceId, identity: Keeper, services: ServicesOf, key: RequestKeyOf, body: Entering | None = None
) -> JSONResponse:
    """Move every running machine off a blade, live; it takes none from now on. Refused when that cannot end."""
    at_once = (body or Entering()).parallel_migrations
    return submit(
        services,
        identity,
        key,
        lambda session: maintenance.plan_enter(session, services.world, identity.tenant_id, blade_id, at_once),
    )


@router.post("/hosts/{blade_id}/maintenance/cancel", **ASYNCHRONOUS)
def cancel_maintenance(blade_id: ResourceId, identity: Keeper, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Call off what empties a blade: machines that have moved come back, and it takes machines again."""
    return submit(
        services, identity, key, lambda session: maintenance.plan_cancel(session, identity.tenant_id, blade_id)
    )


@router.delete("/hosts/{blade_id}/maintenance", **ASYNCHRONOUS)
def exit_maintenance(blade_id: ResourceId, identity: Keeper, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Open a blade again; machines move to it as far as the automation level of its cpool says."""
    return submit(
        services,
        identity,
        key,
        lambda session: maintenance.plan_exit(session, services.world, identity.tenant_id, blade_id),
    )

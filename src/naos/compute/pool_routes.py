"""Changes of cpools over HTTP: what is enabled, rates, blades that join and leave."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import pools, pressure
from naos.compute.placement_wire import blades_by_name
from naos.compute.pool_wire import Joining, PoolChange
from naos.compute.pressure_wire import PressureWire, pressure_wire
from naos.identity import Identity

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.get("/host_clusters/{cpool_id}/pressure")
def read_pressure(cpool_id: ResourceId, identity: Reader, services: ServicesOf) -> PressureWire:
    """How full a cpool is and will be, and which guests are pressed: steal, swap and balloon, as their hypervisor tells them."""
    with services.database.read() as session:
        found = pressure.of_cpool(session, services.world, identity.tenant_id, cpool_id)
        return pressure_wire(found, blades_by_name(session, found.cpool.id))


@router.patch("/host_clusters/{cpool_id}", **ASYNCHRONOUS)
def change_cpool(
    cpool_id: ResourceId, body: PoolChange, identity: Builder, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Change what a cpool has enabled, its rates and its balancing. Running machines are never taken from."""
    return submit(
        services,
        identity,
        key,
        lambda session: pools.plan_update(session, services.world, identity.tenant_id, cpool_id, body.changes()),
    )


@router.post("/host_clusters/{cpool_id}/hosts", **ASYNCHRONOUS)
def add_blades(
    cpool_id: ResourceId, body: Joining, identity: Builder, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Take free blades of the cpool's model and zone into it; they carry its VLANs before a machine runs there."""
    return submit(
        services,
        identity,
        key,
        lambda session: pools.plan_join(session, services.world, identity.tenant_id, cpool_id, body.hosts, body.memory),
    )


@router.delete("/host_clusters/{cpool_id}/hosts/{blade_id}", **ASYNCHRONOUS)
def remove_blade(
    cpool_id: ResourceId, blade_id: ResourceId, identity: Builder, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Take a blade on which no machine runs out of its cpool; it is free again, and what was included with it goes."""
    return submit(
        services,
        identity,
        key,
        lambda session: pools.plan_leave(session, services.world, identity.tenant_id, cpool_id, blade_id),
    )

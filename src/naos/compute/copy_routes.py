"""Clones and moves over HTTP (wire-API section 4.13)."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import cloning, relocation, volume_balance_routes
from naos.compute.cloning import CloneRequest
from naos.compute.copy_wire import Cloning, Relocation
from naos.identity import Identity

router = APIRouter()
router.include_router(volume_balance_routes.router)

Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


@router.post("/virtual_machines/{machine_id}/clone", **ASYNCHRONOUS)
def clone_machine(
    machine_id: ResourceId, body: Cloning, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Copy a machine, running or stopped. The copy has an id, MAC addresses and a host name of its own."""
    request = CloneRequest(
        source_id=machine_id,
        name=body.name,
        power_on=body.power_on,
        datacenter_id=body.datacenter_id,
        cpool_id=body.host_cluster_id,
        blade_id=body.host_id,
        lun_id=body.datastore_id,
        cluster_id=body.datastore_cluster_id,
    )
    return submit(
        services,
        identity,
        key,
        lambda session: cloning.plan_clone(session, services.world, identity.tenant_id, request),
    )


@router.post("/virtual_machines/relocate", **ASYNCHRONOUS)
def relocate_machines(body: Relocation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Move machines to another host, cluster or datacenter, their disks to other datastores, live when they run."""
    return submit(
        services,
        identity,
        key,
        lambda session: relocation.plan_relocate(
            session, services.world, identity.tenant_id, body.virtual_machines, body.wish()
        ),
    )

"""Deploying an item of a content library (wire-API section 4.11)."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import deployment
from naos.compute.deployment_wire import Deployment
from naos.identity import Identity

router = APIRouter(tags=["Templates"])
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


@router.post("/content_libraries/{library_id}/items", **ASYNCHRONOUS)
def deploy_item(
    library_id: ResourceId, body: Deployment, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Deploy an item as a machine: hardware, disks, adapters and seed, and started if so wished."""
    return submit(
        services,
        identity,
        key,
        lambda session: deployment.plan(session, services.world, identity.tenant_id, library_id, body),
    )

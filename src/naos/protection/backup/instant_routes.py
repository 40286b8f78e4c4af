"""Instant starts over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.identity import Identity
from naos.protection.backup import instant
from naos.protection.backup.instant_wire import InstantStartRequest, InstantStartWire, SpeedRequest

router = APIRouter()

Reader = Annotated[Identity, Depends(require("backup_iaas_spp_read"))]
Restorer = Annotated[
    Identity,
    Depends(
        require(
            "backup_iaas_spp_read",
            "backup_iaas_spp_write",
            "compute_iaas_vmware_read",
            "compute_iaas_vmware_management",
        )
    ),
]


@router.post("/restore_points/{point_id}/instant_start", **ASYNCHRONOUS)
def start_instantly(
    point_id: ResourceId, body: InstantStartRequest, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Start a machine from a restore point at once; its disks move in from the vault while it runs. The machine is the activity's
    result."""
    return submit(
        services,
        identity,
        key,
        lambda session: instant.plan(session, services.world, identity.tenant_id, point_id, body),
    )


@router.get("/instant_starts")
def list_instant_starts(identity: Reader, services: ServicesOf) -> list[InstantStartWire]:
    """Instant starts, the newest first, and how far their disks have moved in."""
    with services.database.read() as session:
        return instant.shown(session, instant.of_tenant(session, identity.tenant_id))


@router.get("/instant_starts/{restore_id}")
def read_instant_start(restore_id: ResourceId, identity: Reader, services: ServicesOf) -> InstantStartWire:
    """One instant start."""
    with services.database.read() as session:
        return instant.shown(session, [instant.find(session, identity.tenant_id, restore_id)])[0]


@router.patch("/instant_starts/{restore_id}", **ASYNCHRONOUS)
def change_instant_start(
    restore_id: ResourceId, body: SpeedRequest, identity: Restorer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Set the speed at which the disks move in."""
    return submit(
        services,
        identity,
        key,
        lambda session: instant.plan_speed(session, identity.tenant_id, restore_id, body.speed),
    )

"""How space is kept on volumes, over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, submit
from naos.api.services import ServicesOf
from naos.identity import Identity
from naos.storage import reserve
from naos.storage.space_wire import MaintenanceChange, PolicyChange, VolumeNamed

router = APIRouter(prefix="/compute/v1/vcenters/datastores")

Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.patch("/policy", **ASYNCHRONOUS)
def change_policy(body: PolicyChange, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Set how much room snapshots want on a volume, its emergency reserve, and how far it may be promised."""
    return submit(
        services,
        identity,
        key,
        lambda session: reserve.plan_policy(
            session,
            tenant_id=identity.tenant_id,
            lun_id=body.id,
            headroom=body.snapshot_headroom,
            snapshots=body.snapshot_policy,
            reserve=body.reserve,
            overcommitment=body.overcommitment,
        ),
    )


@router.post("/release_reserve", **ASYNCHRONOUS)
def release_reserve(body: VolumeNamed, identity: Builder, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Give the emergency reserve of a full volume to the guests that wait there."""
    return submit(
        services,
        identity,
        key,
        lambda session: reserve.plan_release(session, tenant_id=identity.tenant_id, lun_id=body.id),
    )


@router.post("/maintenance", **ASYNCHRONOUS)
def change_maintenance(
    body: MaintenanceChange, identity: Builder, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Begin or end the maintenance of a volume: nothing new is placed there meanwhile; what is there stays and runs."""
    return submit(
        services,
        identity,
        key,
        lambda session: reserve.plan_maintenance(
            session, tenant_id=identity.tenant_id, lun_id=body.id, enter=body.enter
        ),
    )

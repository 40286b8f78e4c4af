"""Rebalancing of datastore clusters over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, submit
from naos.api.services import ServicesOf
from naos.compute import volume_balance
from naos.compute.volume_balance_rules import Reason
from naos.identity import Identity
from naos.ids import ResourceId
from naos.wire import Reference, Request, Wire

router = APIRouter(tags=["Volumes"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


class VolumeMove(Wire):
    """`size`: bytes that the disks use, by estimate; `operations`: what they do a second, over the last hour. `reason`: maintenance, space
    or load."""

    virtual_machine: Reference
    source: Reference
    target: Reference
    disks: list[str]
    size: int
    operations: float
    reason: Reason


class Rebalancing(Request):
    id: ResourceId


@router.get("/datastore_clusters/{cluster_id}/recommendations")
def recommend(cluster_id: ResourceId, identity: Reader, services: ServicesOf) -> list[VolumeMove]:
    """Which machines' disks should go to other volumes of a datastore cluster, by the space that was measured last,
    and by what was asked of them in the last hour."""
    with services.database.read() as session:
        return [
            VolumeMove(
                virtual_machine=Reference(id=entry.machine.id, name=entry.machine.name),
                source=Reference(id=entry.source.id, name=entry.source.name),
                target=Reference(id=entry.target.id, name=entry.target.name),
                disks=list(entry.disks),
                size=entry.weight,
                operations=round(entry.rate, 1),
                reason=entry.reason,
            )
            for entry in volume_balance.recommendations(session, services.world, identity.tenant_id, cluster_id)
        ]


@router.post("/datastore_clusters/rebalance", **ASYNCHRONOUS)
def rebalance(body: Rebalancing, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Move what is recommended now, live where machines run."""
    return submit(
        services,
        identity,
        key,
        lambda session: volume_balance.plan(session, services.world, identity.tenant_id, body.id),
    )

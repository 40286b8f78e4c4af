"""Replication of volumes over HTTP. Reads ask no array: the age of a point is a matter of the clock."""

from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.fleet import cpools
from naos.identity import Identity
from naos.protection.replication import replications, views
from naos.protection.replication.models import LunReplication
from naos.protection.replication.replications import Limits
from naos.protection.replication.wire import LimitsRequest, Replication, ReplicationRequest

router = APIRouter(prefix="/replication/v1/volumes", tags=["Replication"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Builder = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.get("")
def list_replications(identity: Reader, services: ServicesOf, volumeId: str | None = None) -> list[Replication]:  # noqa: N803 - the wire's name
    """The tenant's replicated volumes, with the age that each copy has at this moment."""
    with services.database.read() as session:
        query = sa.select(LunReplication).where(LunReplication.tenant_id == identity.tenant_id)
        if volumeId is not None:
            either = sa.or_(LunReplication.lun_id == volumeId, LunReplication.replica_id == volumeId)
            query = query.where(either)
        now = datetime.now(UTC)
        rows = session.scalars(query.order_by(LunReplication.created_at, LunReplication.id)).all()
        return [views.replication(session, row, now) for row in rows]


@router.get("/{replication_id}")
def read_replication(replication_id: ResourceId, identity: Reader, services: ServicesOf) -> Replication:
    """One replication."""
    with services.database.read() as session:
        row = replications.find(session, identity.tenant_id, replication_id)
        return views.replication(session, row, datetime.now(UTC))


@router.post("", **ASYNCHRONOUS)
def create_replication(
    body: ReplicationRequest, identity: Builder, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Replicate a volume to another zone of its region: a replica of the same class and size is made there."""
    return submit(
        services,
        identity,
        key,
        lambda session: replications.plan_create(
            session,
            services.world,
            tenant_id=identity.tenant_id,
            lun_id=body.volume_id,
            zone=cpools.find_zone(session, body.zone_id).name,
            mode=body.mode,
            limits=_limits(body),
        ),
    )


@router.patch("/{replication_id}", **ASYNCHRONOUS)
def change_replication(
    replication_id: ResourceId, body: LimitsRequest, identity: Builder, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Change how fast points travel; the one that is being taken goes on so within a second."""
    return submit(
        services,
        identity,
        key,
        lambda session: replications.plan_change(
            session, tenant_id=identity.tenant_id, reference=replication_id, limits=_limits(body)
        ),
    )


def _limits(body: LimitsRequest) -> Limits:
    windows = None if body.windows is None else {entry.window: entry.speed for entry in body.windows}
    return Limits(body.speed, windows, body.time_zone)


@router.delete("/{replication_id}", **ASYNCHRONOUS)
def delete_replication(
    replication_id: ResourceId, identity: Builder, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """End a replication; the replica and its space go."""
    return submit(
        services,
        identity,
        key,
        lambda session: replications.plan_delete(session, tenant_id=identity.tenant_id, reference=replication_id),
    )

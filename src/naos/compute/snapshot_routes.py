"""Snapshots of machines over HTTP (wire-API section 4.14, and naos' own writes)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import snapshot_work
from naos.compute.device_wire import Consolidation, DeviceAction, SnapshotCreation, SnapshotWire, snapshot_wire
from naos.identity import Identity
from naos.storage import snapshots
from naos.storage.models import Snapshot

router = APIRouter()

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_read"))]
Manager = Annotated[Identity, Depends(require("compute_iaas_vmware_read", "compute_iaas_vmware_management"))]


@router.get("/snapshots")
def list_snapshots(
    identity: Reader,
    services: ServicesOf,
    virtualMachineId: str | None = None,  # noqa: N803
) -> list[SnapshotWire]:
    """Snapshots, of one machine from the oldest on."""
    query = sa.select(Snapshot).where(Snapshot.tenant_id == identity.tenant_id)
    if virtualMachineId is not None:
        query = query.where(Snapshot.machine_id == virtualMachineId)
    with services.database.read() as session:
        rows = session.scalars(query.order_by(Snapshot.machine_id, Snapshot.created_at, Snapshot.id))
        return [snapshot_wire(row) for row in rows]


@router.get("/snapshots/{snapshot_id}")
def read_snapshot(snapshot_id: ResourceId, identity: Reader, services: ServicesOf) -> SnapshotWire:
    """One snapshot."""
    with services.database.read() as session:
        return snapshot_wire(snapshots.find(session, identity.tenant_id, snapshot_id))


@router.post("/snapshots", **ASYNCHRONOUS)
def take_snapshot(body: SnapshotCreation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Take the machine's persistent disks as they are at one instant, running or not."""
    return submit(
        services,
        identity,
        key,
        lambda session: snapshot_work.plan_take(
            session,
            identity.tenant_id,
            machine_id=body.virtual_machine_id,
            name=body.name,
            description=body.description,
            quiesce=body.quiesce,
            memory=body.memory,
        ),
    )


@router.post("/snapshots/revert", **ASYNCHRONOUS)
def revert_snapshot(body: DeviceAction, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Bring the disks of a stopped machine back to a snapshot. What was written since is lost, unless another one holds it."""
    return submit(
        services, identity, key, lambda session: snapshot_work.plan_revert(session, identity.tenant_id, body.id)
    )


@router.post("/snapshots/consolidate", **ASYNCHRONOUS)
def consolidate_disks(body: Consolidation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Remove from a machine's disks what interrupted work has left of snapshots."""
    return submit(
        services,
        identity,
        key,
        lambda session: snapshot_work.plan_consolidate(session, identity.tenant_id, body.virtual_machine_id),
    )


@router.delete("/snapshots/{snapshot_id}", **ASYNCHRONOUS)
def delete_snapshot(
    snapshot_id: ResourceId, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Delete a snapshot; the disks and every other snapshot stay as they are."""
    return submit(
        services, identity, key, lambda session: snapshot_work.plan_delete(session, identity.tenant_id, snapshot_id)
    )

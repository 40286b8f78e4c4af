"""Snapshots of machines over HTTP (wire-API section 4.14, and naos' own writes)."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, submit
from naos.api.services import ServicesOf
from naos.compute import snapshot_work
from naos.compute.device_wire import Consolidation, SnapshotCreation, SnapshotReversion, SnapshotWire, snapshot_wire
from naos.identity import Identity
from naos.storage import memories, snapshot_growth, snapshots
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
        rows = list(session.scalars(query.order_by(Snapshot.machine_id, Snapshot.created_at, Snapshot.id)))
        growths = snapshot_growth.of(session, rows, services.world.settings)
        kept = memories.of(session, [row.id for row in rows])
        return [snapshot_wire(row, growths[row.id], kept.get(row.id)) for row in rows]


@router.get("/snapshots/{snapshot_id}")
def read_snapshot(snapshot_id: ResourceId, identity: Reader, services: ServicesOf) -> SnapshotWire:
    """One snapshot."""
    with services.database.read() as session:
        row = snapshots.find(session, identity.tenant_id, snapshot_id)
        growth = snapshot_growth.of(session, [row], services.world.settings)[row.id]
        return snapshot_wire(row, growth, memories.of(session, [row.id]).get(row.id))


@router.post("/snapshots", **ASYNCHRONOUS)
def take_snapshot(body: SnapshotCreation, identity: Manager, services: ServicesOf, key: RequestKeyOf) -> JSONResponse:
    """Take the machine's persistent disks as they are at one instant, running or not; with the memory of the running guest, if
    asked, from which it can go on."""
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
def revert_snapshot(
    body: SnapshotReversion, identity: Manager, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Bring a stopped machine back to a snapshot: its disks, and, when the snapshot holds memory, the guest running where it was.
    What was written since is lost, unless another one holds it."""
    return submit(
        services,
        identity,
        key,
        lambda session: snapshot_work.plan_revert(session, identity.tenant_id, body.id, memory=body.memory),
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

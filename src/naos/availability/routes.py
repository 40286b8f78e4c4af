"""High availability over HTTP: settings of cpools and machines, conditions of blades, recoveries."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session

from naos.api.authentication import require
from naos.api.parameters import ASYNCHRONOUS, RequestKeyOf, ResourceId, list_filter, submit
from naos.api.services import ServicesOf
from naos.availability import recoveries, settings
from naos.availability.detection import Condition
from naos.availability.models import BladeCondition, Recovery
from naos.availability.wire import (
    BladeConditionWire,
    MachineAvailabilityRequest,
    MachineAvailabilityWire,
    PoolAvailabilityRequest,
    PoolAvailabilityWire,
    RecoveryWire,
)
from naos.compute import machines
from naos.compute.models import VirtualMachine
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.identity import Identity
from naos.world import World

router = APIRouter(prefix="/compute/v1/vcenters", tags=["High availability"])

Reader = Annotated[Identity, Depends(require("compute_iaas_vmware_infrastructure_read"))]
Writer = Annotated[
    Identity, Depends(require("compute_iaas_vmware_infrastructure_read", "compute_iaas_vmware_infrastructure_write"))
]


@router.get("/host_clusters/{cpool_id}/availability")
def read_pool(cpool_id: ResourceId, identity: Reader, services: ServicesOf) -> PoolAvailabilityWire:
    """A cpool's settings, and the room that is left before a start is refused."""
    with services.database.read() as session:
        return _pool(session, services.world, cpools.find(session, identity.tenant_id, cpool_id))


@router.patch("/host_clusters/{cpool_id}/availability", **ASYNCHRONOUS)
def set_pool(
    cpool_id: ResourceId, body: PoolAvailabilityRequest, identity: Writer, services: ServicesOf, key: RequestKeyOf
) -> JSONResponse:
    """Switch high availability on or off, and say what room is kept: for the loss of blades, or a share of all memory."""
    given = body.model_dump(exclude_none=True)
    columns = {"tolerated_losses": "tolerated", "kept_percent": "percent"}
    given = {columns.get(name, name): value for name, value in given.items()}
    return submit(
        services,
        identity,
        key,
        lambda session: settings.plan_pool(session, services.world, identity.tenant_id, cpool_id, given),
    )


@router.get("/virtual_machines/{machine_id}/availability")
def read_machine(machine_id: ResourceId, identity: Reader, services: ServicesOf) -> MachineAvailabilityWire:
    """A machine's settings."""
    with services.database.read() as session:
        machine = machines.find(session, identity.tenant_id, machine_id)
        own = settings.of_machine(session, machine.id)
    return MachineAvailabilityWire(
        virtual_machine_id=machine.id,
        priority=own.priority,
        best_effort=own.best_effort,
        start_order=own.start_order,
        start_delay=own.start_delay,
        restart_limit=own.restart_limit,
        hung_after=own.hung_after,
    )


@router.patch("/virtual_machines/{machine_id}/availability", **ASYNCHRONOUS)
def set_machine(
    machine_id: ResourceId,
    body: MachineAvailabilityRequest,
    identity: Writer,
    services: ServicesOf,
    key: RequestKeyOf,
) -> JSONResponse:
    """Change a machine's settings."""
    return submit(
        services,
        identity,
        key,
        lambda session: settings.plan_machine(
            session, identity.tenant_id, machine_id, body.model_dump(exclude_none=True)
        ),
    )


@router.get("/availability/hosts")
def list_blades(
    identity: Reader, services: ServicesOf, clusters: Annotated[list[str], list_filter("hostClusters")]
) -> list[BladeConditionWire]:
    """The tenant's blades in cpools with high availability, and what is known of each."""
    with services.database.read() as session:
        mine = list(session.scalars(sa.select(Cpool).where(Cpool.tenant_id == identity.tenant_id)))
        wanted = [
            cpool.id
            for cpool in mine
            if settings.of_pool(session, cpool.id).enabled and (not clusters or cpool.id in clusters)
        ]
        found = cpools.blades_of(session, wanted)
        names = [blade.name for blade in found]
        rows = {
            row.blade: row for row in session.scalars(sa.select(BladeCondition).where(BladeCondition.blade.in_(names)))
        }
    return [
        BladeConditionWire(
            id=blade.id,
            name=blade.name,
            host_cluster_id=str(blade.cpool_id),
            condition=row.condition if row else Condition.HEALTHY,
            reason=row.reason if row else "",
            since=row.since.isoformat() if row else None,
        )
        for blade in found
        for row in (rows.get(blade.name),)
    ]


@router.get("/availability/recoveries")
def list_recoveries(
    identity: Reader,
    services: ServicesOf,
    clusters: Annotated[list[str], list_filter("hostClusters")],
    unfinished: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> list[RecoveryWire]:
    """Machines that were lost and what became of them, the latest first, 500 at most."""
    with services.database.read() as session:
        found = recoveries.of_tenant(session, identity.tenant_id, cpool_ids=clusters, unfinished=unfinished)
        query = sa.select(VirtualMachine.id, VirtualMachine.name).where(
            VirtualMachine.id.in_([row.machine_id for row in found])
        )
        names = {row.id: row.name for row in session.execute(query)}
    return [_recovery(row, names.get(row.machine_id, "")) for row in found]


def _recovery(row: Recovery, name: str) -> RecoveryWire:
    return RecoveryWire(
        id=row.id,
        virtual_machine_id=row.machine_id,
        virtual_machine_name=name,
        host_cluster_id=row.cpool_id,
        lost_on=row.blade,
        cause=row.cause,
        progress=row.progress,
        reason=row.reason,
        attempts=row.attempts,
        started_on=row.target,
        created_at=row.created_at.isoformat(),
        ended_at=row.ended_at.isoformat() if row.ended_at else None,
    )


def _pool(session: Session, world: World, cpool: Cpool) -> PoolAvailabilityWire:
    row, found = settings.of_pool(session, cpool.id), settings.room(session, world, cpool)
    return PoolAvailabilityWire(
        host_cluster_id=cpool.id,
        enabled=row.enabled,
        tolerated_losses=row.tolerated,
        kept_percent=row.percent,
        frozen_after=row.frozen_after,
        connected_hosts=found.blades,
        kept_memory=found.kept,
        used_memory=found.used,
        room=found.left,
        survives=found.fits,
    )

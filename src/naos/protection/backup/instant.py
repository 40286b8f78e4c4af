"""Instant starts: a machine runs from a restore point in its vault, and its disks move in while it does.

Each is a restore as well, so that tests are cleaned up, and replaced disks are given back, in the same way. Steps are in `instant_steps`.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan, Undo
from naos.compute import hooks, machines
from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.protection.backup import instant_holds, points, restores
from naos.protection.backup.instant_errors import InstantDone
from naos.protection.backup.instant_models import InstantDisk, InstantStart
from naos.protection.backup.instant_wire import InstantStartRequest, InstantStartWire
from naos.protection.backup.models import RestorePoint
from naos.protection.backup.restore_wire import Mode, RestoreRequest
from naos.protection.backup.views import milliseconds
from naos.storage import disks
from naos.storage.models import Disk
from naos.world import World


class State(StrEnum):
    STARTING = "starting"
    MOVING = "moving"
    DONE = instant_holds.DONE


def find(session: Session, tenant_id: str, restore_id: str) -> InstantStart:
    """An instant start of the tenant, by its restore. Raises Unknown."""
    found = session.get(InstantStart, restore_id)
    if found is None or found.tenant_id != tenant_id:
        raise Unknown("instant start", restore_id)
    return found


def of_tenant(session: Session, tenant_id: str) -> list[InstantStart]:
    """The newest first."""
    query = sa.select(InstantStart).where(InstantStart.tenant_id == tenant_id)
    return list(session.scalars(query.order_by(InstantStart.created_at.desc(), InstantStart.restore_id)))


def unfinished(session: Session) -> list[InstantStart]:
    """Of all tenants, the oldest first."""
    query = sa.select(InstantStart).where(InstantStart.state != State.DONE)
    return list(session.scalars(query.order_by(InstantStart.created_at, InstantStart.restore_id)))


def resting(session: Session, restore_id: str) -> list[Disk]:
    """Its disks of which a part still lies in the vault."""
    query = (
        sa.select(Disk)
        .join(InstantDisk, InstantDisk.disk_id == Disk.id)
        .where(InstantDisk.restore_id == restore_id, Disk.backing.is_not(None))
    )
    return list(session.scalars(query.order_by(Disk.unit, Disk.id)))


def shown(session: Session, found: Sequence[InstantStart]) -> list[InstantStartWire]:
    sizes = _sizes(session, [row.restore_id for row in found])
    return [
        InstantStartWire(
            id=row.restore_id,
            restore_point_id=row.point_id,
            virtual_machine_id=row.machine_id,
            name=row.machine_name,
            mode=Mode(row.mode),
            state=row.state,
            speed=row.speed,
            done=sizes.get(row.restore_id, (0, 0))[0],
            total=sizes.get(row.restore_id, (0, 0))[1],
            note=row.note,
            created_at=milliseconds(row.created_at) or 0,
            ended_at=milliseconds(row.ended_at),
        )
        for row in found
    ]


def _sizes(session: Session, restore_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    query = (
        sa.select(InstantDisk.restore_id, sa.func.sum(InstantDisk.done), sa.func.sum(InstantDisk.total))
        .where(InstantDisk.restore_id.in_(list(restore_ids)))
        .group_by(InstantDisk.restore_id)
    )
    return {str(restore_id): (int(done), int(total)) for restore_id, done, total in session.execute(query)}


# ---------------------------------------------------------------------------------------------------------------- plans


def plan(session: Session, world: World, tenant_id: str, point_id: str, request: InstantStartRequest) -> Plan:
    """Raises what a restore does, and what starting a machine does."""
    asked = RestoreRequest(
        mode=request.mode,
        name=request.name,
        host_cluster_id=request.host_cluster_id,
        datastore_id=request.datastore_id,
        networks=request.networks,
    )
    made = restores.plan(session, world, tenant_id, point_id, asked)
    restore_id, fillings = str(made.arguments["restore_id"]), made.arguments["fillings"]
    machine = session.get_one(VirtualMachine, made.arguments["machine_id"])
    hooks.check_start(session, machine)
    session.add(
        InstantStart(
            restore_id=restore_id,
            tenant_id=tenant_id,
            point_id=point_id,
            machine_id=machine.id,
            machine_name=machine.name,
            mode=request.mode.value,
            state=State.STARTING.value,
            speed=request.speed,
        )
    )
    session.flush()
    for filling in fillings:
        disk = session.get_one(Disk, filling["disk_id"])
        disk.backing = str(uuid.uuid4())
        row = {"restore_id": restore_id, "source_id": filling["source_id"], "total": disk.capacity}
        session.add(InstantDisk(disk_id=disk.id, **row))
    session.flush()
    point = session.get_one(RestorePoint, point_id)
    mine = Undo("instant_start.forget", {"restore_id": restore_id}, "ended the reading of the point")
    removing = [restores.unmaking(restore_id, filling["disk_id"]) for filling in fillings]
    kept = [undo for undo in made.undo if undo not in removing]
    return replace(
        made,
        kind="restore_point.instant_start",
        description=f"Start {machine.name} from its restore point of {points.moment(point.taken_at)} ({request.mode.value})",
        undo=(kept[0], mine, *kept[1:], *removing),
    )


def plan_move(session: Session, restore_id: str) -> Plan:
    """Bring in what still lies in the vault. It gives way to whoever needs the disks. Raises Unknown."""
    row = session.get(InstantStart, restore_id)
    if row is None:
        raise Unknown("instant start", restore_id)
    return Plan(
        kind="restore_point.move_in",
        description=f"Move the disks of {row.machine_name} in from their vault",
        arguments={"restore_id": restore_id},
        locks=tuple(disks.flatten_lock(disk.id) for disk in resting(session, restore_id)),
        concerned=(machines.item(row.machine_id), Item(restore_id, "restore")),
        type="BackupActivity",
        preemptible=True,
    )


def plan_speed(session: Session, tenant_id: str, restore_id: str, speed: int) -> Plan:
    """From now on. Raises Unknown, InstantDone."""
    row = find(session, tenant_id, restore_id)
    if row.state == State.DONE:
        raise InstantDone(row.machine_name)
    row.speed = speed
    return Plan(
        kind="instant_start.speed",
        description=f"Set the speed at which {row.machine_name} moves in",
        arguments={"restore_id": restore_id},
        concerned=(machines.item(row.machine_id), Item(restore_id, "restore")),
        type="BackupActivity",
    )

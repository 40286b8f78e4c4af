"""Restore points: finding them, and letting them go, one at a time or by a policy's retention."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.compute.models import VirtualMachine
from naos.engines.errors import Busy
from naos.errors import Unknown
from naos.protection import copying
from naos.protection.backup import instant_holds, retention, terms
from naos.protection.backup.errors import PointHeld, PointImmutable, PointLast, PointNotReady
from naos.protection.backup.instant_errors import PointInUse
from naos.protection.backup.models import PointDisk, RestorePoint
from naos.protection.backup.retention import Kept
from naos.protection.copying import Where
from naos.protection.models import BackupPolicy
from naos.protection.notices import outbox
from naos.protection.notices.rules import Event
from naos.world import World

DAMAGED = "damaged: "
"""How the note of a damaged point begins."""
_log = structlog.get_logger()


class PointState(StrEnum):
    COPYING = "copying"
    GOOD = "good"
    DAMAGED = "damaged"
    DELETING = "deleting"


class Consistency(StrEnum):
    """quiesced: the guest's file systems were at rest. crash: as after a loss of power. stopped: the machine was off."""

    QUIESCED = "quiesced"
    CRASH = "crash"
    STOPPED = "stopped"


def find(session: Session, tenant_id: str, point_id: str) -> RestorePoint:
    """A restore point of the tenant that is complete. Raises Unknown."""
    point = session.get(RestorePoint, point_id)
    if point is None or point.tenant_id != tenant_id or point.state == PointState.COPYING:
        raise Unknown("restore point", point_id)
    return point


def find_good(session: Session, tenant_id: str, point_id: str) -> RestorePoint:
    """One that can be restored. Raises Unknown, PointNotReady."""
    point = find(session, tenant_id, point_id)
    if point.state != PointState.GOOD:
        raise PointNotReady(point.machine_name, moment(point.taken_at), point.state)
    return point


def moment(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def where(point: RestorePoint) -> Where:
    return Where("vault", point.vault)


def item(point_id: str) -> Item:
    return Item(point_id, "restore_point")


def lock(set_id: str, *, shared: bool = False) -> Lock:
    """What keeps those apart who add to, read, or remove from the points of one machine and policy."""
    return Lock(f"restore_points:{set_id}", shared=shared)


def disks_of(session: Session, point_ids: Iterable[str]) -> Mapping[str, Sequence[PointDisk]]:
    """The disks of some points, each in the order of their units: one statement."""
    wanted = list(point_ids)
    found: dict[str, list[PointDisk]] = {point_id: [] for point_id in wanted}
    query = sa.select(PointDisk).where(PointDisk.point_id.in_(wanted)).order_by(PointDisk.unit, PointDisk.disk_id)
    for disk in session.scalars(query):
        found[disk.point_id].append(disk)
    return found


def listed(
    session: Session,
    tenant_id: str,
    *,
    machine_id: str | None = None,
    policy_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[RestorePoint]:
    """Complete points, the newest first; None filters nothing."""
    query = sa.select(RestorePoint).where(RestorePoint.tenant_id == tenant_id, RestorePoint.state != PointState.COPYING)
    if machine_id is not None:
        query = query.where(RestorePoint.machine_id == machine_id)
    if policy_id is not None:
        query = query.where(RestorePoint.policy_id == policy_id)
    if since is not None:
        query = query.where(RestorePoint.taken_at >= since)
    if until is not None:
        query = query.where(RestorePoint.taken_at < until)
    return list(session.scalars(query.order_by(RestorePoint.taken_at.desc(), RestorePoint.id)))


def used(session: Session, tenant_id: str) -> int:
    """Bytes that the tenant's points take in vaults."""
    total = sa.select(sa.func.coalesce(sa.func.sum(RestorePoint.stored), 0)).where(RestorePoint.tenant_id == tenant_id)
    return int(session.scalar(total) or 0)


# ---------------------------------------------------------------------------------------------------------- what expires


def expiring(session: Session, set_id: str, now: datetime) -> list[str]:
    """Ids of a set's points that its policy keeps no longer; none while the policy is held or gone."""
    rows = list(session.scalars(sa.select(RestorePoint).where(RestorePoint.set_id == set_id)))
    if not rows:
        return []
    policy = session.get(BackupPolicy, rows[0].policy_id)
    if policy is None or policy.held or policy.zone is None:
        return []
    found = terms.read(session, policy)
    complete = [
        Kept(row.id, row.taken_at, row.state == PointState.GOOD, row.immutable_until)
        for row in rows
        if row.state in (PointState.GOOD, PointState.DAMAGED)
    ]
    leaving = [row.id for row in rows if row.state == PointState.DELETING]
    needed = instant_holds.held(session)
    going = [*leaving, *retention.expired(complete, found.keep, found.zone, now)]
    return [point_id for point_id in going if point_id not in needed]


def expire(world: World, set_id: str) -> int:
    """Let go of what is kept no longer, point by point; how many. One that is being read goes the next time.

    The table says first that a point is going: a deletion that is cut short is seen, and ends the next time.
    """
    with world.database.read() as session:
        going = expiring(session, set_id, datetime.now(UTC))
    gone = 0
    for point_id in going:
        try:
            remove(world, point_id)
            gone += 1
        except Busy as reading:
            _log.info("restore_point.busy", point=point_id, reason=str(reading))
            keep(world, point_id)
    return gone


def remove(world: World, point_id: str) -> None:
    """Mark, delete in the vault, forget, and note what its neighbours take now."""
    with world.database.write() as session:
        row = session.get(RestorePoint, point_id)
        if row is None:
            return
        row.state = PointState.DELETING
    try:
        copying.drop(world, where(row), row.set_id, row.id)
    except Busy:  # who looked into files of the set a moment ago looks no more
        with world.database.read() as session:
            of_set = session.scalars(sa.select(RestorePoint.id).where(RestorePoint.set_id == row.set_id)).all()
        world.rack.vault_files(row.vault).end(list(of_set))
        copying.drop(world, where(row), row.set_id, row.id)
    with world.database.write() as session:
        session.execute(sa.delete(RestorePoint).where(RestorePoint.id == point_id))
    note_space(world, row.set_id)
    _log.info("restore_point.removed", point=point_id, machine=row.machine_name, taken=moment(row.taken_at))


def note_space(world: World, set_id: str) -> None:
    """What the points of a set take, as the vault has it: what a deleted one shared is a neighbour's now."""
    with world.database.read() as session:
        row = session.scalar(sa.select(RestorePoint).where(RestorePoint.set_id == set_id).limit(1))
    if row is None:
        return
    present = {point.id: point for point in copying.points(world, where(row), set_id)}
    with world.database.write() as session:
        for known in session.scalars(sa.select(RestorePoint).where(RestorePoint.set_id == set_id)):
            point = present.get(known.id)
            if point is not None and known.stored != point.stored:
                known.stored = point.stored
                for disk in point.disks:
                    held = session.get(PointDisk, (known.id, disk.disk_id))
                    if held is not None:
                        held.stored = disk.stored


# ------------------------------------------------------------------------------------------------------- by somebody's wish


def check_deletable(session: Session, point: RestorePoint, now: datetime, *, force: bool) -> None:
    """Raises PointImmutable, PointHeld, PointInUse; and PointLast for the last good point of a machine that is still there, unless forced."""
    taken = moment(point.taken_at)
    if point.immutable_until is not None and point.immutable_until > now:
        raise PointImmutable(point.machine_name, taken, moment(point.immutable_until))
    policy = session.get(BackupPolicy, point.policy_id)
    if policy is not None and policy.held:
        raise PointHeld(point.machine_name, taken, policy.name)
    machine = instant_holds.machine_on(session, point.id)
    if machine is not None:
        raise PointInUse(machine, taken)
    if force or point.state != PointState.GOOD or session.get(VirtualMachine, point.machine_id) is None:
        return
    others = sa.select(RestorePoint.id).where(
        RestorePoint.machine_id == point.machine_id, RestorePoint.state == PointState.GOOD, RestorePoint.id != point.id
    )
    if session.scalar(others.limit(1)) is None:
        raise PointLast(point.machine_name, taken)


def plan_delete(session: Session, tenant_id: str, point_id: str, *, force: bool) -> Plan:
    """Raises Unknown, PointImmutable, PointHeld, PointLast."""
    point = find(session, tenant_id, point_id)
    check_deletable(session, point, datetime.now(UTC), force=force)
    return _plan(
        point, "delete", f"Delete the restore point of {point.machine_name} of {moment(point.taken_at)}", force=force
    )


def plan_verify(session: Session, tenant_id: str, point_id: str) -> Plan:
    """Read a point whole and compare it with its checksums. Raises Unknown."""
    point = find(session, tenant_id, point_id)
    return _plan(point, "verify", f"Verify the restore point of {point.machine_name} of {moment(point.taken_at)}")


def _plan(point: RestorePoint, word: str, description: str, **more: Any) -> Plan:
    undo = (Undo("restore_point.keep", {"point_id": point.id}, "left the restore point as it is"),)
    return Plan(
        kind=f"restore_point.{word}",
        description=description,
        arguments={"point_id": point.id, **more},
        locks=(lock(point.set_id, shared=word == "verify"),),
        concerned=(item(point.id),),
        type="BackupActivity",
        undo=undo if word == "delete" else (),
    )


def delete(world: World, point_id: str, force: bool) -> None:  # noqa: FBT001 - of a step
    """After another look: what was deletable when it was asked may be held or the last one by now."""
    with world.database.read() as session:
        point = session.get(RestorePoint, point_id)
        if point is None:
            return
        if point.state != PointState.DELETING:
            check_deletable(session, point, datetime.now(UTC), force=force)
    remove(world, point_id)


def keep(world: World, point_id: str) -> bool:
    """A deletion that failed before anything was deleted leaves the point as it was, if the vault still has it."""
    with world.database.read() as session:
        point = session.get(RestorePoint, point_id)
    if point is None or point.state != PointState.DELETING:
        return False
    if any(found.id == point_id for found in copying.points(world, where(point), point.set_id)):
        state = PointState.DAMAGED if point.note.startswith(DAMAGED) else PointState.GOOD
        with world.database.write() as session:
            session.execute(sa.update(RestorePoint).where(RestorePoint.id == point_id).values(state=state))
    return False


# ------------------------------------------------------------------------------------------------------------ verification


def verify(world: World, point_id: str) -> dict[str, Any]:
    """Note what a reading of the whole point found; a damaged one is not restored from, and does not count as kept."""
    with world.database.read() as session:
        point = session.get(RestorePoint, point_id)
    if point is None or point.state == PointState.DELETING:
        return {"read": 0, "damages": 0}
    with world.database.read() as session:
        policy = session.get(BackupPolicy, point.policy_id)
        pace = terms.read(session, policy).speed if policy is not None and policy.zone is not None else None
    verdict = copying.verify(world, where(point), point.set_id, point_id, pace=pace)
    names = {disk.disk_id: disk.name for disk in _disks(world, point_id)}
    told = [f"{names.get(d.disk_id, d.disk_id)} at byte {d.offset}: {d.reason}" for d in verdict.damages[:5]]
    with world.database.write() as session:
        row = session.get(RestorePoint, point_id)
        if row is not None:
            row.verified_at = datetime.now(UTC)
            if told:
                row.state, row.note = PointState.DAMAGED, f"{DAMAGED}{'; '.join(told)}"
                _log.error("restore_point.damaged", point=point_id, machine=row.machine_name, found=told)
                outbox.tell(
                    session,
                    row.tenant_id,
                    Event.POINT_DAMAGED,
                    f"Restore point of {row.machine_name} of {moment(row.taken_at)} is damaged",
                    f"The restore point of {row.machine_name} of {moment(row.taken_at)} in {row.vault} is not what was written:\n"
                    + "\n".join(f"- {line}" for line in told),
                    point=point_id,
                    machine=row.machine_name,
                    policy=row.policy_name,
                )
            elif row.state == PointState.DAMAGED:
                row.state, row.note = PointState.GOOD, ""
    return {"read": verdict.read, "damages": len(verdict.damages)}


def _disks(world: World, point_id: str) -> Sequence[PointDisk]:
    with world.database.read() as session:
        return disks_of(session, [point_id])[point_id]

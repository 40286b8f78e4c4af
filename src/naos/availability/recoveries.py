"""Recoveries: their rows, and the plans of the activities that bring lost machines back."""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan
from naos.availability.errors import NotLost
from naos.availability.models import OPEN, Progress, Recovery
from naos.compute import machines
from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.world import World

POWERED_OFF = "it was powered off"


def open_of(session: Session, machine_id: str) -> Recovery | None:
    """The machine's unfinished recovery."""
    return session.scalar(sa.select(Recovery).where(Recovery.machine_id == machine_id, Recovery.progress.in_(OPEN)))


def of_tenant(session: Session, tenant_id: str, *, cpool_ids: Sequence[str], unfinished: bool) -> list[Recovery]:
    """The latest first, 500 at most; of these cpools, or of all when none is named."""
    query = sa.select(Recovery).where(Recovery.tenant_id == tenant_id)
    if cpool_ids:
        query = query.where(Recovery.cpool_id.in_(cpool_ids))
    if unfinished:
        query = query.where(Recovery.progress.in_(OPEN))
    return list(session.scalars(query.order_by(Recovery.created_at.desc(), Recovery.id).limit(500)))


def unfinished(session: Session) -> list[Recovery]:
    return list(session.scalars(sa.select(Recovery).where(Recovery.progress.in_(OPEN)).order_by(Recovery.id)))


def power_off_wanted(session: Session, machine_id: str) -> None:
    """End the machine's unfinished recovery, if it has one, without a start. One that is not cut off yet still is to be."""
    mine = sa.update(Recovery).where(Recovery.machine_id == machine_id)
    session.execute(mine.where(Recovery.progress == Progress.ISOLATING).values(unwanted=True))
    session.execute(
        mine.where(Recovery.progress.in_((Progress.WAITING, Progress.STARTING))).values(
            progress=Progress.ABANDONED, reason=POWERED_OFF, ended_at=datetime.now(UTC)
        )
    )


def give_up(session: Session, machine: VirtualMachine, cause: str, reason: str) -> None:
    """Say of a machine that was lost that it is not started again."""
    made = _new(machine, cause)
    made.progress, made.reason, made.ended_at = Progress.ABANDONED, reason, datetime.now(UTC)
    session.add(made)


def note(world: World, recovery_id: str, progress: Progress | None = None, **values: object) -> bool:
    """Change an unfinished recovery. False when it has ended meanwhile."""
    if progress is not None:
        values["progress"] = progress
        if progress not in OPEN:
            values["ended_at"] = datetime.now(UTC)
    with world.database.write() as session:
        changed = session.execute(
            sa.update(Recovery).where(Recovery.id == recovery_id, Recovery.progress.in_(OPEN)).values(**values)
        )
        return bool(getattr(changed, "rowcount", 0))


def _new(machine: VirtualMachine, cause: str) -> Recovery:
    return Recovery(
        tenant_id=machine.tenant_id,
        cpool_id=machine.cpool_id,
        machine_id=machine.id,
        blade=str(machine.blade),
        cause=cause,
        progress=Progress.ISOLATING,
    )


def plan_isolate(session: Session, machine: VirtualMachine, cause: str) -> Plan:
    """Open a recovery, or take the unfinished one up again, and cut the machine off from its disks where it was."""
    recovery = open_of(session, machine.id)
    if recovery is None:
        recovery = _new(machine, cause)
        session.add(recovery)
        session.flush()
    return Plan(
        kind="virtual_machine.isolate",
        description=f"Cut machine {machine.name} off, which was lost on {recovery.blade} ({recovery.cause.replace('_', ' ')})",
        arguments={"recovery_id": recovery.id, "machine_id": machine.id},
        locks=machines.locks_of(session, machine),
        concerned=(machines.item(machine.id),),
    )


def plan_loss(session: Session, machine_id: str, blade: str, cause: str) -> Plan:
    """Isolate a machine of a lost blade. Raises NotLost when it is elsewhere by now."""
    machine = session.get(VirtualMachine, machine_id)
    if machine is None:
        raise Unknown("virtual machine", machine_id)
    if machine.blade != blade:
        raise NotLost(machine.name)
    return plan_isolate(session, machine, cause)


def plan_recover(session: Session, recovery_id: str, blade: str) -> Plan:
    """Start a machine that waits to be, on this blade if it has room by then. Raises NotLost."""
    recovery = session.get(Recovery, recovery_id)
    machine = session.get(VirtualMachine, recovery.machine_id) if recovery is not None else None
    if recovery is None or machine is None:
        raise Unknown("recovery", recovery_id)
    if recovery.progress != Progress.WAITING:
        raise NotLost(machine.name)
    recovery.progress, recovery.target = Progress.STARTING, None
    return machines.plan(
        session,
        machine,
        "virtual_machine.recover",
        f"Start machine {machine.name} again, which was lost on {recovery.blade}",
        arguments={"recovery_id": recovery_id, "blade": blade},
    )


def blade_lock(blade: str) -> Lock:
    return Lock(f"blade:{blade}")


def plan_rejoin(blade: str) -> Plan:
    """Clean a lost blade that answers again."""
    return Plan(
        kind="blade.rejoin",
        description=f"Remove what {blade} ran before it was lost",
        arguments={"blade": blade},
        locks=(blade_lock(blade),),
        concerned=(Item(blade, "host"),),
    )

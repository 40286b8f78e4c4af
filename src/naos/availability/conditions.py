"""What high availability has to say about machines and blades; see `compute.hooks`."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.availability import recoveries, rules, settings
from naos.availability.detection import LOST
from naos.availability.models import (
    BladeCondition,
    MachineAvailability,
    PoolAvailability,
    Priority,
    Progress,
    Recovery,
)
from naos.availability.rules import CRASHED
from naos.compute import hooks
from naos.compute.hooks import Loss
from naos.compute.models import VirtualMachine
from naos.fleet.models import Blade, Cpool
from naos.fleet.rules import lent_memory

HOUR = timedelta(hours=1)


def may_start(session: Session, machine: VirtualMachine) -> None:
    """Raises AdmissionRefused."""
    may_take(session, machine, machine.cpool_id, machine.memory)


def may_take(session: Session, machine: VirtualMachine, cpool_id: str, memory: int) -> None:
    """Raises AdmissionRefused, but not for a machine that was lost: the room is kept for it."""
    pool = settings.of_pool(session, cpool_id)
    promise = settings.promise_of(pool)
    if not pool.enabled or not promise or recoveries.open_of(session, machine.id) is not None:
        return
    cpool = session.get_one(Cpool, cpool_id)
    rules.check_admission(
        cpool.name,
        machine.name,
        memory,
        settings.running_memory(session, cpool.id, but=machine.id),
        blades=settings.open_blades(session, cpool.id),
        blade_memory=lent_memory(pool.blade_memory, cpool.memory_overcommit),
        promise=promise,
    )


def may_shrink(session: Session, cpool: Cpool, blades: int, overcommit: int) -> None:
    """Raises TooFewBlades, ToleratedTooMany, RoomPromised. Blades that are silent or rest for a while are counted: they come back."""
    pool = settings.of_pool(session, cpool.id)
    if pool.enabled:
        rules.check_smaller(
            cpool.name,
            settings.running_memory(session, cpool.id),
            blades=blades,
            blade_memory=lent_memory(pool.blade_memory, overcommit),
            promise=settings.promise_of(pool),
        )


def closed_blades(session: Session, cpool_id: str) -> Mapping[str, str]:
    """Blades that are lost, until their stale machines were removed."""
    rows = session.execute(
        sa.select(BladeCondition.blade, BladeCondition.condition)
        .join(Blade, Blade.name == BladeCondition.blade)
        .where(Blade.cpool_id == cpool_id, BladeCondition.condition.in_(LOST))
    )
    return {blade: f"it counts as {condition.replace('_', ' ')}" for blade, condition in rows}


def may_join(session: Session, blade: str) -> bool:
    row = session.get(BladeCondition, blade)
    return row is None or row.condition not in LOST


def plan_for_loss(session: Session, machine: VirtualMachine, loss: Loss) -> Plan | None:
    """Start a machine again whose hypervisor process died, or that its blade lost with its own power."""
    pool = session.get(PoolAvailability, machine.cpool_id)
    own = settings.of_machine(session, machine.id)
    if pool is None or not pool.enabled or own.priority == Priority.DISABLED or machine.blade is None:
        return None
    row = session.get(BladeCondition, machine.blade)
    cause = rules.cause_of(loss, shaken=row is not None and row.shaken)
    if cause is None:
        return None
    if recoveries.open_of(session, machine.id) is not None:
        return None
    if cause == CRASHED and _restarts(session, machine.id) >= own.restart_limit:
        reason = f"it was started again {own.restart_limit} times within an hour"
        recoveries.give_up(session, machine, CRASHED, reason)
        return None
    return recoveries.plan_isolate(session, machine, cause)


def _restarts(session: Session, machine_id: str) -> int:
    """How often within the last hour."""
    query = sa.select(sa.func.count()).where(
        Recovery.machine_id == machine_id,
        Recovery.created_at > datetime.now(UTC) - HOUR,
        Recovery.progress != Progress.ABANDONED,
    )
    return int(session.scalar(query) or 0)


def power_off_wanted(session: Session, machine_id: str) -> None:
    """Nobody starts a machine that somebody wants to be off."""
    recoveries.power_off_wanted(session, machine_id)


def forget(session: Session, machine_id: str) -> None:
    for table in (MachineAvailability, Recovery):
        session.execute(sa.delete(table).where(table.machine_id == machine_id))


def _register() -> None:
    if may_start in hooks.START_CONDITIONS:
        return
    hooks.START_CONDITIONS.append(may_start)
    hooks.MEMORY_CONDITIONS.append(may_take)
    hooks.SHRINK_CONDITIONS.append(may_shrink)
    hooks.BLADE_CONDITIONS.append(closed_blades)
    hooks.JOIN_CONDITIONS.append(may_join)
    hooks.LOSS_HOOKS.append(plan_for_loss)
    hooks.POWER_OFF_HOOKS.append(power_off_wanted)
    hooks.FORGET_HOOKS.append(forget)


_register()

"""What cpools and machines are set to: reading, and the plans that change it."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.availability import rules
from naos.availability.models import MachineAvailability, PoolAvailability
from naos.availability.rules import Kept, Room, Settings
from naos.compute import machines
from naos.compute.models import VirtualMachine
from naos.fleet import cpools
from naos.fleet.models import Blade, Cpool
from naos.fleet.rules import lent_memory, resting
from naos.world import World

# Built once: every start asks.
_OF_POOL = sa.select(PoolAvailability).where(PoolAvailability.cpool_id == sa.bindparam("cpool_id"))


def of_pool(session: Session, cpool_id: str) -> PoolAvailability:
    """The row, or a new one that is not kept, with what holds without one."""
    found = session.scalars(_OF_POOL, {"cpool_id": cpool_id}).one_or_none()
    off = {"enabled": False, "tolerated": 0, "percent": 0, "frozen_after": 0, "blade_memory": 0}
    return found or PoolAvailability(cpool_id=cpool_id, **off)


def promise_of(row: PoolAvailability) -> Kept:
    return Kept(row.tolerated, row.percent)


def of_machine(session: Session, machine_id: str) -> Settings:
    row = session.get(MachineAvailability, machine_id)
    return Settings() if row is None else of_row(row)


def of_row(row: MachineAvailability) -> Settings:
    return Settings(row.priority, row.best_effort, row.start_order, row.start_delay, row.restart_limit, row.hung_after)


def running_memory(session: Session, cpool_id: str, *, but: str = "") -> list[int]:
    """The memory of each machine that runs in a cpool, is being started, or comes to it."""
    coming = sa.select(Blade.name).where(Blade.cpool_id == cpool_id)
    query = sa.select(VirtualMachine.reserved).where(
        sa.or_(VirtualMachine.cpool_id == cpool_id, VirtualMachine.moving_to.in_(coming)),
        VirtualMachine.reserved > 0,
        VirtualMachine.id != but,
    )
    return list(session.scalars(query))


def open_blades(session: Session, cpool_id: str) -> int:
    """How many blades of a cpool answer and take machines."""
    found = cpools.blades_of(session, [cpool_id])
    return sum(blade.connected and not resting(blade.maintenance) for blade in found)


def room(session: Session, world: World, cpool: Cpool) -> Room:
    """What is left while the cpool keeps what it promises."""
    return rules.room(
        running_memory(session, cpool.id),
        blades=open_blades(session, cpool.id),
        blade_memory=lent_memory(cpools.model_of(world, cpool.model).physical_memory, cpool.memory_overcommit),
        promise=promise_of(of_pool(session, cpool.id)),
    )


def plan_pool(session: Session, world: World, tenant_id: str, cpool_id: str, changes: Mapping[str, Any]) -> Plan:
    """Change a cpool's settings, in the check itself. Raises TooFewBlades, ToleratedTooMany."""
    cpool = cpools.find_ready(session, tenant_id, cpool_id)
    row = of_pool(session, cpool_id)
    for name, value in changes.items():
        setattr(row, name, value)
    blades = len(cpools.blades_of(session, [cpool_id]))
    if row.enabled:
        rules.check_blades(cpool.name, blades)
    rules.check_tolerated(cpool.name, row.tolerated, blades)
    row.blade_memory = cpools.model_of(world, cpool.model).physical_memory
    session.add(row)
    return Plan(
        kind="cpool.set_availability",
        description=f"High availability of {cpool.name}: {'on' if row.enabled else 'off'}, "
        f"room for {promise_of(row).told(blades)}",
        arguments={"cpool_id": cpool_id},
        concerned=(Item(cpool_id, "host_cluster"),),
    )


def plan_machine(session: Session, tenant_id: str, machine_id: str, changes: Mapping[str, Any]) -> Plan:
    """Change a machine's settings, in the check itself."""
    machine = machines.find(session, tenant_id, machine_id)
    row = session.get(MachineAvailability, machine_id)
    if row is None:
        row = MachineAvailability(machine_id=machine_id)
        session.add(row)
        session.flush()
    for name, value in changes.items():
        setattr(row, name, value)
    return Plan(
        kind="virtual_machine.set_availability",
        description=f"High availability of machine {machine.name}: priority {row.priority}",
        arguments={"machine_id": machine_id},
        concerned=(machines.item(machine_id),),
    )

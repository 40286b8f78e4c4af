"""What cpools and machines are set to: reading, and the plans that change it."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.availability import rules
from naos.availability.models import MachineAvailability, PoolAvailability
from naos.availability.rules import Room, Settings
from naos.compute import machines
from naos.compute.models import Power, VirtualMachine
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.fleet.rules import lent_memory
from naos.world import World


def of_pool(session: Session, cpool_id: str) -> PoolAvailability:
    """The row, or a new one that is not kept, with what holds without one."""
    found = session.get(PoolAvailability, cpool_id)
    return found or PoolAvailability(cpool_id=cpool_id, enabled=False, tolerated=0, frozen_after=0, blade_memory=0)


def of_machine(session: Session, machine_id: str) -> Settings:
    row = session.get(MachineAvailability, machine_id)
    return Settings() if row is None else of_row(row)


def of_row(row: MachineAvailability) -> Settings:
    return Settings(row.priority, row.best_effort, row.start_order, row.start_delay, row.restart_limit, row.hung_after)


def running_memory(session: Session, cpool_id: str, *, but: str = "") -> list[int]:
    """The memory of each running machine of a cpool."""
    query = sa.select(VirtualMachine.memory).where(
        VirtualMachine.cpool_id == cpool_id, VirtualMachine.power == Power.RUNNING, VirtualMachine.id != but
    )
    return list(session.scalars(query))


def room(session: Session, world: World, cpool: Cpool) -> Room:
    """What is left if the loss of the tolerated number of blades shall be survived."""
    connected = sum(blade.connected for blade in cpools.blades_of(session, [cpool.id]))
    return rules.room(
        running_memory(session, cpool.id),
        blades=connected,
        blade_memory=lent_memory(cpools.model_of(world, cpool.model).physical_memory, cpool.memory_overcommit),
        tolerated=of_pool(session, cpool.id).tolerated,
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
        f"room for the loss of {row.tolerated} blade(s)",
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

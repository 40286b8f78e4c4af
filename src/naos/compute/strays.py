"""Domains on blades where their machines are not: what an order left that was given up, and took effect after all.

A hypervisor that hung may start a machine when it wakes, though that was undone meanwhile and the machine is stopped, or runs
elsewhere. Its disks were cut off at the array before anything else was done with them, so such a guest writes nothing; what is left of
it is removed. A move that was given up and arrived after all is noted instead.
"""

from collections.abc import Collection
from contextlib import suppress
from typing import Any, cast

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Plan, Run, workflow
from naos.compute import machines, movements, seeds, steps
from naos.compute.models import Power, VirtualMachine
from naos.engines.errors import EngineError, Unreachable
from naos.engines.ports import PowerState
from naos.errors import Unknown
from naos.lifecycle import Lifecycle
from naos.world import World

ALIVE = (PowerState.RUNNING, PowerState.PAUSED, PowerState.IO_ERROR, PowerState.STOPPING)

_log = structlog.get_logger()


def on(session: Session, blade: str, domains: Collection[str]) -> list[VirtualMachine]:
    """Machines with one of these domains on a blade, though they are neither there nor on their way to it."""
    if not domains:
        return []
    elsewhere = sa.and_(
        sa.or_(VirtualMachine.blade.is_(None), VirtualMachine.blade != blade),
        sa.or_(VirtualMachine.moving_to.is_(None), VirtualMachine.moving_to != blade),
    )
    query = sa.select(VirtualMachine).where(VirtualMachine.id.in_(domains), elsewhere)
    return list(session.scalars(query.where(VirtualMachine.lifecycle == Lifecycle.ACTIVE)))


def plan_remove(session: Session, machine_id: str, blade: str) -> Plan:
    machine = session.get(VirtualMachine, machine_id)
    if machine is None:
        raise Unknown("virtual machine", machine_id)
    description = f"Remove what {blade} has of {machine.name}, which is elsewhere"
    return machines.plan(session, machine, "virtual_machine.remove_stray", description, arguments={"blade": blade})


@workflow("virtual_machine.remove_stray", steps=1)
def remove_stray(run: Run, arguments: dict[str, Any]) -> str:
    world, machine_id = cast(World, run.world), arguments["machine_id"]
    run.step("remove it", _remove, world, machine_id, arguments["blade"])
    return str(machine_id)


def _remove(world: World, machine_id: str, blade: str) -> str:
    """Nobody else works on the machine now. One that runs here, and not where it should, is left to `where_it_runs`."""
    machine = steps.row(world, machine_id)
    if blade in (machine.blade, machine.moving_to):
        return "it belongs there"
    hypervisor = world.rack.hypervisor(blade)
    if hypervisor.state(machine_id) in ALIVE:
        if machine.power == Power.RUNNING and not steps.is_running(world, machine_id):
            return "it runs there alone"
        _log.warning("machine.stray_ended", machine=machine_id, blade=blade, home=machine.blade)
        hypervisor.power_off(machine_id)
    steps.undefine(world, machine_id, blade)
    return "removed"


def where_it_runs(world: World, machine_id: str) -> str | None:
    """The other blade on which a machine runs that is missing on its own: a move arrived there after it was given up.

    Raises Unreachable when it was on its way to a blade that does not answer.
    """
    machine = steps.row(world, machine_id)
    if machine.power != Power.RUNNING:
        return None
    for blade in dict.fromkeys([machine.moving_to, *steps.siblings(world, machine_id)]):
        if blade in (None, machine.blade):
            continue
        hypervisor = world.rack.hypervisor(blade)
        try:
            hypervisor.abandon_arrival(machine_id)  # its source is gone: the rest will never come
            if hypervisor.state(machine_id) in ALIVE:
                return blade
        except Unreachable:
            if blade == machine.moving_to:
                raise
    return None


def note_place(world: World, machine_id: str, blade: str) -> None:
    """What `where_it_runs` found. The old blade's own part goes; one that does not answer is tidied when it is back."""
    machine = steps.row(world, machine_id)
    if machine.blade != blade:
        movements.record_arrival(world, machine_id, blade, machine.cpool_id)
        _log.warning("machine.found_elsewhere", machine=machine_id, blade=blade, before=machine.blade)
        if machine.blade is not None:
            with suppress(EngineError):
                seeds.remove(world, machine_id, machine.blade)

"""Maintenance of blades: what is asked for, and what stands in the tables about it. A blade in maintenance takes no machine."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.compute import arranging, balance, machines
from naos.compute.blockers import Blocker
from naos.compute.evacuating import Evacuation, evacuate
from naos.compute.maintenance_errors import CannotBeEmptied, NotThatState
from naos.compute.models import VirtualMachine
from naos.compute.relocation import Journey
from naos.errors import Unknown
from naos.fleet import cpools
from naos.fleet.models import Blade, BladeMove, Cpool, Maintenance
from naos.world import World

AT_ONCE, MOST_AT_ONCE = 2, 8
"""Migrations side by side from one blade."""
LOST_TARGET = "a machine could not be moved there a moment ago"
REVIVE = "bring it back first, or let high availability start its machines elsewhere"


@dataclass(frozen=True)
class Sight:
    """A blade's maintenance. moves: of its latest evacuation, in their order. plan: how it would be emptied now. blockers: everything
    that is in the way of that."""

    blade: Blade
    cpool: Cpool
    moves: Sequence[BladeMove]
    plan: Evacuation | None
    blockers: Sequence[Blocker] = ()


def lock(blade: str) -> Lock:
    return Lock(f"blade:{blade}")


def item(blade: Blade) -> Item:
    return Item(blade.id, "host")


def find(session: Session, tenant_id: str, blade_id: str) -> tuple[Blade, Cpool]:
    """A blade of the tenant's, and its cpool. Raises Unknown."""
    blade = session.get(Blade, blade_id)
    cpool = session.get(Cpool, blade.cpool_id) if blade is not None and blade.cpool_id else None
    if blade is None or cpool is None or cpool.tenant_id != tenant_id:
        raise Unknown("blade", blade_id)
    return blade, cpool


def see(session: Session, world: World, tenant_id: str, blade_id: str) -> Sight:
    blade, cpool = find(session, tenant_id, blade_id)
    moves = session.scalars(sa.select(BladeMove).where(BladeMove.blade == blade.name).order_by(BladeMove.place))
    plan = evacuation_of(session, world, cpool, blade.name) if blade.maintenance == Maintenance.OPEN else None
    return Sight(
        blade, cpool, list(moves), plan, list(_in_the_way(session, blade, cpool, plan)) if plan is not None else ()
    )


def _in_the_way(session: Session, blade: Blade, cpool: Cpool, plan: Evacuation) -> Iterator[Blocker]:
    """Of the blade itself, then of each machine that has nowhere to go."""
    if not blade.connected and _present(session, cpool, blade.name):
        yield Blocker("", "", blade.name, "connection", "it does not answer, so that nothing can leave it", REVIVE)
    for entry in plan.stuck:
        yield from entry.blockers


def set_state(session: Session, blade: str, state: Maintenance) -> None:
    since = None if state == Maintenance.OPEN else datetime.now(UTC)
    session.execute(sa.update(Blade).where(Blade.name == blade).values(maintenance=state, maintenance_since=since))


def state_of(world: World, blade: str) -> str:
    with world.database.read() as session:
        return session.scalars(sa.select(Blade.maintenance).where(Blade.name == blade)).one()


# ----------------------------------------------------------------------------------------------------------- evacuation


def evacuation_of(
    session: Session,
    world: World,
    cpool: Cpool,
    blade: str,
    movable: frozenset[str] | None = None,
    avoid: frozenset[str] = frozenset(),
) -> Evacuation:
    """How the blade would be emptied. movable: ids of the machines that the activity holds; None before there is one: then what
    is being started or comes to the blade is taken for there, and what leaves it for gone. avoid: blades that take nothing, as they
    were lost as targets a moment ago."""
    state = arranging.state_of(session, world, cpool)
    on_their_way = sa.select(VirtualMachine.id, VirtualMachine.moving_to).where(
        VirtualMachine.cpool_id == cpool.id, VirtualMachine.moving_to.is_not(None)
    )
    moving = {machine_id: target for machine_id, target in session.execute(on_their_way)}  # noqa: C416 - rows, as dict wants none
    runners = []
    for runner in state.runners:
        if movable is not None:
            pinned = runner.pinned if runner.id in movable else "it came after the request was made"
            runners.append(replace(runner, pinned=pinned))
        elif runner.pinned == arranging.GPU_BOUND:
            runners.append(runner)
        elif blade == moving.get(runner.id):
            runners.append(replace(runner, blade=blade, pinned=""))
        elif runner.blade != blade:
            runners.append(runner)
        elif runner.id not in moving:
            runners.append(replace(runner, pinned=""))
    candidates = [
        replace(candidate, closed=candidate.closed or LOST_TARGET) if candidate.name in avoid else candidate
        for candidate in state.candidates
    ]
    return evacuate(candidates, runners, state.groups, blade)


def check_emptied(blade: str, found: Evacuation) -> None:
    """Raises CannotBeEmptied."""
    if found.stages is not None:
        return
    stuck = "; ".join(f"{entry.name}: {entry.reason}" for entry in found.stuck[:10])
    more = f"; and {len(found.stuck) - 10} more" if len(found.stuck) > 10 else ""
    cause = f"No other moves make room: {'; '.join(found.blame)}. " if found.blame else ""
    raise CannotBeEmptied(blade, stuck + more, cause, ", ".join(found.help) or "another blade in the cpool")


def _present(session: Session, cpool: Cpool, blade: str) -> list[VirtualMachine]:
    """Everything that has memory set aside on the blade, or will."""
    here = sa.or_(VirtualMachine.blade == blade, VirtualMachine.moving_to == blade)
    query = sa.select(VirtualMachine).where(VirtualMachine.cpool_id == cpool.id, VirtualMachine.reserved > 0, here)
    return list(session.scalars(query.order_by(VirtualMachine.name)))


def journey(cpool_id: str, machine: VirtualMachine, target: str) -> dict[str, Any]:
    return asdict(Journey(machine.id, cpool_id, target, machine.lun_id, {}, {}, {}))


# ---------------------------------------------------------------------------------------------------------------- plans


def plan_enter(session: Session, world: World, tenant_id: str, blade_id: str, at_once: int = AT_ONCE) -> Plan:
    """Empty a blade by live migration; from now on it takes no machine. Raises Unknown, NotThatState, CannotBeEmptied."""
    blade, cpool = find(session, tenant_id, blade_id)
    if blade.maintenance != Maintenance.OPEN:
        raise _wrong(blade, "enter maintenance")
    found = evacuation_of(session, world, cpool, blade.name)
    check_emptied(blade.name, found)
    present = _present(session, cpool, blade.name)
    if present and not blade.connected:
        raise NotThatState(blade.name, "does not answer", "be emptied", REVIVE)
    others = {move.machine_id for move in found.moves} - {machine.id for machine in present}
    moving = [*present, *(session.get_one(VirtualMachine, machine_id) for machine_id in sorted(others))]
    set_state(session, blade.name, Maintenance.ENTERING)
    return Plan(
        kind="blade.enter_maintenance",
        description=f"Empty blade {blade.name} of {len(present)} machine(s) for maintenance",
        arguments={
            "blade": blade.name,
            "cpool_id": cpool.id,
            "movable": [machine.id for machine in moving],
            "at_once": at_once,
        },
        locks=(
            lock(blade.name),
            cpools.lock(cpool.id, shared=True),
            *(held for machine in moving for held in machines.locks_of(session, machine)),
        ),
        concerned=(item(blade), *(machines.item(machine.id) for machine in moving)),
        undo=(Undo("blade.reopen", {"blade": blade.name}, f"{blade.name} takes machines again"),),
    )


def plan_cancel(session: Session, tenant_id: str, blade_id: str) -> Plan:
    """Call an evacuation off: what has moved comes back. The activity ends after that one. Raises Unknown, NotThatState."""
    blade, _cpool = find(session, tenant_id, blade_id)
    if blade.maintenance != Maintenance.ENTERING:
        raise _wrong(blade, "be given back what has left it")
    blade.maintenance = Maintenance.CANCELLING
    return Plan(
        kind="blade.cancel_maintenance",
        description=f"Call the emptying of blade {blade.name} off",
        arguments={"blade": blade.name},
        locks=(lock(blade.name),),
        concerned=(item(blade),),
    )


def plan_exit(session: Session, world: World, tenant_id: str, blade_id: str) -> Plan:
    """The blade takes machines again, and those move to it that the cpool's automation would move. Raises Unknown, NotThatState."""
    blade, cpool = find(session, tenant_id, blade_id)
    if blade.maintenance != Maintenance.RESTING:
        raise _wrong(blade, "leave maintenance")
    moving, journeys = _homecoming(session, world, cpool, blade.name)
    return Plan(
        kind="blade.exit_maintenance",
        description=f"Take blade {blade.name} out of maintenance",
        arguments={"blade": blade.name, "cpool_id": cpool.id, "journeys": journeys},
        locks=(
            lock(blade.name),
            cpools.lock(cpool.id, shared=True),
            *(held for machine in moving for held in machines.locks_of(session, machine)),
        ),
        concerned=(item(blade), *(machines.item(machine.id) for machine in moving)),
    )


def _homecoming(
    session: Session, world: World, cpool: Cpool, blade: str
) -> tuple[list[VirtualMachine], list[dict[str, Any]]]:
    """What the cpool's automation moves once the blade is open: nothing, what mends a rule, or what balances too."""
    if cpool.automation == balance.MANUAL:
        return [], []
    state = arranging.state_of(session, world, cpool)
    opened = [
        replace(candidate, closed="", connected=True) if candidate.name == blade else candidate
        for candidate in state.candidates
    ]
    advice = balance.advise(opened, state.runners, state.groups, cpool.balance_threshold)
    moves = [found.move for found in advice if found.mends or cpool.automation == balance.FULL]
    moving = [session.get_one(VirtualMachine, move.machine_id) for move in moves]
    journeys = [journey(cpool.id, machine, move.target) for machine, move in zip(moving, moves, strict=True)]
    return moving, journeys


_STATES = {
    Maintenance.OPEN: ("is not in maintenance", "there is nothing to end"),
    Maintenance.ENTERING: ("is being emptied", "wait for its end, or cancel it"),
    Maintenance.CANCELLING: ("is being given back its machines", "wait for its end"),
    Maintenance.RESTING: ("is in maintenance", "exit it when the work is done"),
}


def _wrong(blade: Blade, wanted: str) -> NotThatState:
    state, remedy = _STATES[Maintenance(blade.maintenance)]
    return NotThatState(blade.name, state, wanted, remedy)

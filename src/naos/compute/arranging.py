"""From the tables to plans for a whole cpool: explanations, moves that make room, recommendations. Nothing here touches the world."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.compute import balance, choosing, hooks, machines, rearranging, rules
from naos.compute.arranging_errors import NoPlan, NothingToMove
from naos.compute.balance import Advice
from naos.compute.errors import PoolFull
from naos.compute.models import AffinityMember, AffinityRule, MachineProcessor, Power, VirtualMachine
from naos.compute.placement import Candidate, Need, Verdict, judge, ranked
from naos.compute.rearranging import Group, Move, Outcome, Runner
from naos.compute.relocation import Journey
from naos.errors import Changed, Unknown
from naos.fleet import cpools, processors
from naos.fleet.models import Blade, Cpool, Gpu
from naos.fleet.rules import lent_memory
from naos.lifecycle import Lifecycle
from naos.world import World

GPU_BOUND = "it has a GPU of its blade and cannot move while it runs"


@dataclass(frozen=True)
class PoolState:
    """A cpool as the planners see it. candidates: by name, with the load of every machine."""

    cpool: Cpool
    candidates: list[Candidate]
    runners: list[Runner]
    groups: list[Group]


@dataclass(frozen=True)
class Explanation:
    """Why a machine goes where it goes. refusal: why the cpool as a whole cannot take it. outcome: of the search for moves, where
    no blade fits as things are."""

    machine: VirtualMachine
    cpool: Cpool
    enabled: int
    used: int
    candidates: list[Candidate]
    verdicts: list[Verdict]
    chosen: str | None
    refusal: str | None
    outcome: Outcome | None


def state_of(session: Session, world: World, cpool: Cpool) -> PoolState:
    running = session.scalars(
        sa.select(VirtualMachine)
        .where(VirtualMachine.cpool_id == cpool.id, VirtualMachine.reserved > 0, VirtualMachine.blade.is_not(None))
        .order_by(VirtualMachine.name)
    )
    barred = _barred(session, cpool.id)
    bound = set(
        session.scalars(
            sa.select(Gpu.machine_id)
            .join(Blade, Blade.name == Gpu.blade)
            .where(Blade.cpool_id == cpool.id, Gpu.machine_id.is_not(None))
        )
    )
    runners = [
        Runner(
            machine.id,
            machine.name,
            str(machine.blade),
            machine.reserved,
            machine.cpu,
            GPU_BOUND if machine.id in bound else _pinned(machine),
            barred.get(machine.id, frozenset()),
        )
        for machine in running
    ]
    members: dict[str, set[str]] = {}
    rows = session.execute(
        sa.select(AffinityRule, AffinityMember.machine_id)
        .join(AffinityMember, AffinityMember.rule_id == AffinityRule.id)
        .where(AffinityRule.cpool_id == cpool.id, AffinityRule.enabled.is_(True))
        .order_by(AffinityRule.name)
    )
    found: dict[str, AffinityRule] = {}
    for rule, machine_id in rows:
        found[rule.id] = rule
        members.setdefault(rule.id, set()).add(machine_id)
    groups = [Group(rule.name, rule.kind, rule.must, frozenset(members[rule.id])) for rule in found.values()]
    return PoolState(cpool, choosing.candidates(session, world, cpool), runners, groups)


def _barred(session: Session, cpool_id: str) -> Mapping[str, frozenset[str]]:
    """Of each machine the blades whose processor lacks what its guest was shown; none where all blades have the same."""
    blades = processors.of_blades(session, cpool_id)
    if len(set(blades.values())) < 2:
        return {}
    mine = sa.select(VirtualMachine.id).where(VirtualMachine.cpool_id == cpool_id, VirtualMachine.reserved > 0)
    shown = session.scalars(sa.select(MachineProcessor).where(MachineProcessor.machine_id.in_(mine)))
    return {
        row.machine_id: frozenset(blade for blade, has in blades.items() if not has.issuperset(row.features))
        for row in shown
    }


def _pinned(machine: VirtualMachine) -> str:
    if machine.moving_to is not None:
        return f"it is on its way to {machine.moving_to}"
    if machine.power != Power.RUNNING or machine.lifecycle != Lifecycle.ACTIVE:
        return "it is being started or stopped"
    return ""


# ----------------------------------------------------------------------------------------------------------- one machine


def explain(session: Session, world: World, machine: VirtualMachine) -> Explanation:
    """Every blade of the machine's cpool, as a start would judge it now; of a running machine, as if it were stopped."""
    cpool = session.get_one(Cpool, machine.cpool_id)
    candidates = choosing.candidates(session, world, cpool, machine.id)
    need = choosing.need_of(session, machine)
    verdicts = ranked([judge(candidate, need) for candidate in candidates])
    refusal: str | None = None
    try:
        choosing.check_pool(session, cpool, machine, machine.memory)
    except PoolFull as full:
        refusal = str(full)
    fitting = refusal is None and bool(verdicts) and verdicts[0].fits
    outcome = None
    if refusal is None and not fitting and not machine.reserved:
        outcome = _room(session, world, cpool, need, machine.id)
    return Explanation(
        machine=machine,
        cpool=cpool,
        enabled=lent_memory(cpool.memory, cpool.memory_overcommit),
        used=choosing.used(session, cpool.id),
        candidates=candidates,
        verdicts=verdicts,
        chosen=verdicts[0].blade if fitting else None,
        refusal=refusal,
        outcome=outcome,
    )


def _room(session: Session, world: World, cpool: Cpool, need: Need, newcomer: str) -> Outcome:
    state = state_of(session, world, cpool)
    return rearranging.make_room(state.candidates, state.runners, state.groups, need, newcomer)


def room_for(session: Session, world: World, cpool: Cpool, machine: VirtualMachine) -> Outcome:
    """The moves after which the stopped machine could start. Raises PoolFull."""
    choosing.check_pool(session, cpool, machine, machine.memory)
    return _room(session, world, cpool, choosing.need_of(session, machine), machine.id)


def room_for_size(session: Session, world: World, cpool: Cpool, *, cpu: int, memory: int) -> Outcome:
    """The same for a machine that is not there. Raises MachineSize, PoolFull."""
    machines.check_size(world, cpool, cpu, memory)
    enabled = lent_memory(cpool.memory, cpool.memory_overcommit)
    used = choosing.used(session, cpool.id)
    rules.check_pool_memory(cpool.name, "another", enabled=enabled, used=used, needed=memory)
    return _room(session, world, cpool, Need(memory, cpu), "")


def find_member(session: Session, cpool: Cpool, machine_id: str) -> VirtualMachine:
    """A machine of the cpool. Raises Unknown."""
    machine = session.get(VirtualMachine, machine_id)
    if machine is None or machine.cpool_id != cpool.id:
        raise Unknown("virtual machine", machine_id)
    return machine


def plan_start_with_room(session: Session, tenant_id: str, machine_id: str, outcome: Outcome) -> Plan:
    """Move machines out of the way as `outcome` says, then start this one: the search is not repeated while others wait to write.

    Raises WrongPower, NoPlan, Changed when a machine is elsewhere by now, and what start conditions raise.
    """
    machine = machines.find(session, tenant_id, machine_id)
    rules.check_stopped(machine.name, machine.power, "it runs already")
    hooks.check_start(session, machine)
    cpool = session.get_one(Cpool, machine.cpool_id)
    if outcome.blade is None:
        raise NoPlan(cpool.name, machine.name, "; ".join(outcome.blame))
    base = machines.plan(session, machine, "virtual_machine.make_room", f"Make room for {machine.name} and start it")
    moving, journeys = _journeys(session, cpool, outcome.moves)
    return Plan(
        kind=base.kind,
        description=base.description,
        arguments={"machine_id": machine.id, "blade": outcome.blade, "journeys": journeys},
        locks=(*base.locks, *(lock for other in moving for lock in machines.locks_of(session, other))),
        concerned=(*base.concerned, *(machines.item(other.id) for other in moving)),
    )


def _journeys(
    session: Session, cpool: Cpool, moves: Sequence[Move]
) -> tuple[list[VirtualMachine], list[dict[str, object]]]:
    moving = []
    for move in moves:
        machine = session.get(VirtualMachine, move.machine_id)
        if machine is None or machine.blade != move.source or machine.cpool_id != cpool.id:
            raise Changed(f"machine {move.name}", f"it is not on {move.source} any more")
        moving.append(machine)
    journeys = [
        asdict(Journey(machine.id, cpool.id, move.target, machine.lun_id, {}, {}, {}))
        for machine, move in zip(moving, moves, strict=True)
    ]
    return moving, journeys


# ----------------------------------------------------------------------------------------------------------- whole cpool


def advice_for(session: Session, world: World, cpool: Cpool) -> tuple[float, list[Advice]]:
    """The gap between fullest and emptiest blade in percentage points, and the moves that are recommended."""
    state = state_of(session, world, cpool)
    gap = balance.Pool(state.candidates, state.runners, state.groups).gap
    return gap, balance.advise(state.candidates, state.runners, state.groups, cpool.balance_threshold)


def plan_balance(session: Session, world: World, tenant_id: str, cpool_id: str, *, mending_only: bool = False) -> Plan:
    """Make the recommended moves. mending_only: those alone that mend a rule. Raises NothingToMove."""
    cpool = cpools.find_ready(session, tenant_id, cpool_id)
    gap, advice = advice_for(session, world, cpool)
    moves = [found.move for found in advice if found.mends or not mending_only]
    if not moves:
        raise NothingToMove(cpool.name, f"{gap:.0f}", str(cpool.balance_threshold))
    moving, journeys = _journeys(session, cpool, moves)
    return Plan(
        kind="cpool.balance",
        description=f"Move {len(moves)} machine(s) within cpool {cpool.name}",
        arguments={"cpool_id": cpool.id, "journeys": journeys},
        locks=tuple(lock for machine in moving for lock in machines.locks_of(session, machine)),
        concerned=(Item(cpool.id, "host_cluster"), *(machines.item(machine.id) for machine in moving)),
    )

"""Recovery plans: rows, what is wrong with one, what it would do."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.compute import choosing, machines
from naos.compute.models import VirtualMachine
from naos.errors import NameTaken, Unknown
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.fleet.rules import lent_memory
from naos.names import listing
from naos.network import adapters, vlans
from naos.network.models import Adapter, Vlan
from naos.protection import policies
from naos.protection.recovery import rules, scopes
from naos.protection.recovery.errors import (
    InRecoveryPlan,
    NotIncluded,
    PoolsDiffer,
    SameZoneReplica,
    WrongState,
)
from naos.protection.recovery.models import PlanMember, RecoveryPlan
from naos.protection.recovery.rules import Check, Demand, Room, State
from naos.protection.recovery.scopes import PLAN, Copy, Scope
from naos.storage.models import Disk, Lun
from naos.units import size_text
from naos.world import World


@dataclass(frozen=True)
class Wanted:
    """A machine as a request has it."""

    machine_id: str
    turn: int = 0
    delay: int = 0
    check: str = Check.NONE
    expects: str = ""
    patience: int = scopes.CHECK_PATIENCE
    addresses: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What is None stays."""

    name: str | None = None
    cpool_id: str | None = None
    members: Sequence[Wanted] | None = None
    networks: Mapping[str, str] | None = None
    reserve: bool | None = None
    promise: int | None = None
    shutdown: int | None = None


def find(session: Session, tenant_id: str, plan_id: str) -> RecoveryPlan:
    """Raises Unknown."""
    plan = session.get(RecoveryPlan, plan_id)
    if plan is None or plan.tenant_id != tenant_id:
        raise Unknown("recovery plan", plan_id)
    return plan


def listed(session: Session, tenant_id: str, name: str | None = None) -> list[RecoveryPlan]:
    query = sa.select(RecoveryPlan).where(RecoveryPlan.tenant_id == tenant_id)
    if name is not None:
        query = query.where(RecoveryPlan.name == name)
    return list(session.scalars(query.order_by(RecoveryPlan.name, RecoveryPlan.id)))


def members_of(session: Session, plan_ids: Sequence[str]) -> dict[str, list[PlanMember]]:
    found: dict[str, list[PlanMember]] = {plan_id: [] for plan_id in plan_ids}
    query = sa.select(PlanMember).where(PlanMember.plan_id.in_(list(plan_ids)))
    for member in session.scalars(query.order_by(PlanMember.turn, PlanMember.delay, PlanMember.machine_id)):
        found[member.plan_id].append(member)
    return found


def lock(plan_id: str) -> Lock:
    return Lock(f"{PLAN}:{plan_id}")


# ---------------------------------------------------------------------------------------------------------------- plans


def plan_create(session: Session, tenant_id: str, change: Change) -> Plan:
    """Raises NameTaken, Unknown, PoolsDiffer, SameZoneReplica, InRecoveryPlan, NotIncluded."""
    cpool = cpools.find_ready(session, tenant_id, change.cpool_id or "")
    plan = RecoveryPlan(
        tenant_id=tenant_id,
        name="",
        home_cpool_id="",
        cpool_id=cpool.id,
        promise=change.promise or rules.PROMISE,
        shutdown=scopes.SHUTDOWN_PATIENCE if change.shutdown is None else change.shutdown,
        reserve=change.reserve is not False,
        state=State.READY,
    )
    _find_all(session, tenant_id, change)
    _apply(session, plan, change)
    session.add(plan)
    session.flush()
    _set_members(session, plan, change.members or ())
    _set_networks(session, plan, change.networks or {})
    return _note(
        plan, f"Make recovery plan {plan.name}", undo=(Undo("recovery_plan.forget", {"plan_id": plan.id}, "forgot it"),)
    )


def plan_change(session: Session, tenant_id: str, plan_id: str, change: Change) -> Plan:
    plan = find(session, tenant_id, plan_id)
    _find_all(session, tenant_id, change)
    moves = change.members is not None or change.cpool_id not in (None, plan.cpool_id) or change.networks is not None
    if moves and plan.state == State.FAILED_OVER:
        state, remedy = "has failed over", "reverse it before its machines, networks or cpool are changed"
        raise WrongState("Recovery plan", plan.name, state, remedy)
    if change.cpool_id is not None:
        plan.cpool_id = cpools.find_ready(session, tenant_id, change.cpool_id).id
    _apply(session, plan, change)
    if change.members is not None:
        _set_members(session, plan, change.members)
    elif change.cpool_id is not None:
        _check_zones(session, plan)
    if change.networks is not None:
        _set_networks(session, plan, change.networks)
    return _note(plan, f"Change recovery plan {plan.name}")


def plan_delete(session: Session, tenant_id: str, plan_id: str) -> Plan:
    """The machines and their copies stay as they are."""
    plan = find(session, tenant_id, plan_id)
    forget(session, plan.id)
    return Plan(
        kind="recovery_plan.note",
        description=f"Delete recovery plan {plan.name}",
        arguments={"plan_id": plan.id},
        locks=(lock(plan.id),),
        type="ReplicationActivity",
    )


def _note(plan: RecoveryPlan, description: str, undo: tuple[Undo, ...] = ()) -> Plan:
    return Plan(
        kind="recovery_plan.note",
        description=description,
        arguments={"plan_id": plan.id},
        concerned=(Item(plan.id, PLAN),),
        type="ReplicationActivity",
        undo=undo,
    )


def forget(session: Session, plan_id: str) -> None:
    session.execute(sa.delete(PlanMember).where(PlanMember.plan_id == plan_id))
    session.execute(sa.delete(RecoveryPlan).where(RecoveryPlan.id == plan_id))


def _apply(session: Session, plan: RecoveryPlan, change: Change) -> None:
    if change.name is not None and change.name != plan.name:
        query = sa.select(RecoveryPlan.id).where(
            RecoveryPlan.tenant_id == plan.tenant_id, RecoveryPlan.name == change.name
        )
        if session.scalar(query) is not None:
            raise NameTaken("recovery plan", change.name)
        plan.name = change.name
    if change.reserve is not None:
        plan.reserve = change.reserve
    if change.promise is not None:
        plan.promise = change.promise
    if change.shutdown is not None:
        plan.shutdown = change.shutdown


def _find_all(session: Session, tenant_id: str, change: Change) -> None:
    """Whatever a request names is the tenant's, before any rule is asked. Raises Unknown."""
    for one in change.members or ():
        machines.find(session, tenant_id, one.machine_id)
    for source, target in (change.networks or {}).items():
        vlans.find(session, tenant_id, source)
        vlans.find_ready(session, tenant_id, target)
    if change.cpool_id is not None:
        cpools.find_ready(session, tenant_id, change.cpool_id)


def _set_members(session: Session, plan: RecoveryPlan, wanted: Sequence[Wanted]) -> None:
    chosen = [machines.find(session, plan.tenant_id, one.machine_id) for one in wanted]
    first = chosen[0] if chosen else None
    for machine in chosen:
        if first is not None and machine.cpool_id != first.cpool_id:
            names = [session.get_one(Cpool, one.cpool_id).name for one in (machine, first)]
            raise PoolsDiffer(machine.name, *names)
        other = session.scalar(
            sa.select(RecoveryPlan.name)
            .join(PlanMember, PlanMember.plan_id == RecoveryPlan.id)
            .where(PlanMember.machine_id == machine.id, RecoveryPlan.id != plan.id)
        )
        if other is not None:
            raise InRecoveryPlan(machine.name, other, "is the one that it recovers with; take it out of that one first")
    plan.home_cpool_id = first.cpool_id if first is not None else ""
    session.execute(sa.delete(PlanMember).where(PlanMember.plan_id == plan.id))
    for one in {one.machine_id: one for one in wanted}.values():
        macs = {adapter.mac for adapter in adapters.of_machine(session, one.machine_id)}
        for mac in one.addresses:
            if mac not in macs:
                raise NotIncluded("The MAC address", mac, ", ".join(sorted(macs)) or "none")
        session.add(
            PlanMember(
                plan_id=plan.id,
                machine_id=one.machine_id,
                turn=one.turn,
                delay=one.delay,
                check=one.check,
                expects=one.expects,
                patience=one.patience,
                addresses=dict(one.addresses),
            )
        )
    session.flush()
    _check_zones(session, plan)


def _check_zones(session: Session, plan: RecoveryPlan) -> None:
    home, there = session.get(Cpool, plan.home_cpool_id), session.get(Cpool, plan.cpool_id)
    if home is not None and there is not None and home.zone == there.zone:
        member = members_of(session, [plan.id])[plan.id][0]
        name = machines.name_of(session, member.machine_id)
        raise SameZoneReplica(name, "cpool", there.name, there.zone)


def _set_networks(session: Session, plan: RecoveryPlan, wanted: Mapping[str, str]) -> None:
    used = _vlans_of(session, [member.machine_id for member in members_of(session, [plan.id])[plan.id]])
    for source in wanted:
        if source not in used:
            known = ", ".join(vlan.name for vlan in used.values()) or "none"
            raise NotIncluded("The network", source, known)
    plan.networks = dict(wanted)


def _vlans_of(session: Session, machine_ids: Sequence[str]) -> dict[str, Vlan]:
    query = sa.select(Vlan).join(Adapter, Adapter.vlan_id == Vlan.id).where(Adapter.machine_id.in_(list(machine_ids)))
    return {vlan.id: vlan for vlan in session.scalars(query.order_by(Vlan.name))}


# -------------------------------------------------------------------------------------------------------------- soundness


@dataclass(frozen=True)
class Judgement:
    """What is wrong with a scope (sentences without their point), what is remarkable, and the figures behind it.

    needed, free: bytes of memory of the machines, and of the cpool at the other side. age: seconds that the oldest copy is behind.
    """

    problems: list[str]
    remarks: list[str]
    needed: int
    free: int
    age: float | None
    copies: list[Copy]


def judge(
    session: Session, world: World, scope: Scope, *, point_id: str | None = None, kind: str = rules.Kind.PLANNED
) -> Judgement:
    """Whether a scope could be carried out now. Only the tables are asked."""
    problems: list[str] = []
    remarks: list[str] = []
    rows = {
        row.id: row
        for row in session.scalars(
            sa.select(VirtualMachine).where(VirtualMachine.id.in_([member.machine_id for member in scope.members]))
        )
    }
    if not rows:
        problems.append("it has no machine")
    found = scopes.copies(session, scope, point_id)
    cpool = session.get(Cpool, scope.cpool_id)
    if cpool is None:
        return Judgement(["the cpool at its other side is gone: name another one"], remarks, 0, 0, None, found)
    _judge_copies(session, scope, found, cpool, problems)
    needed, free = _judge_compute(session, world, cpool, list(rows.values()), problems)
    if kind != rules.Kind.TEST:
        _judge_networks(session, scope, cpool, problems)
    remarks += _policies(session, list(rows.values()), cpool)
    ages = [age for age in scopes.ages(found, datetime.now(UTC)) if age is not None]
    age = max(ages, default=None)
    if age is not None and kind == rules.Kind.UNPLANNED:
        remarks.append(f"up to {rules.duration(age)} of what was written last will be lost")
    return Judgement(problems, remarks, needed, free, age, found)


def _judge_copies(session: Session, scope: Scope, found: Sequence[Copy], cpool: Cpool, problems: list[str]) -> None:
    replicas = {copy.machine_ids[0] for copy in found if copy.kind == "machine"}
    volumes = {copy.source_lun for copy in found if copy.kind == "volume"}
    names = {member.machine_id: member.name for member in scope.members}
    for member in scope.members:
        if member.machine_id not in replicas:
            problems += _uncopied(session, member.machine_id, member.name, volumes)
    for copy in found:
        named = listing(names[machine_id] for machine_id in copy.machine_ids)
        lun = session.get(Lun, copy.lun_id)
        if copy.point_id is None:
            problems.append(f"there is no complete point of {named} yet")
        if lun is None or lun.zone != cpool.zone:
            where = lun.zone if lun is not None else "nowhere"
            problems.append(f"{named} is copied to {where}, and cpool {cpool.name} is in {cpool.zone}")
        if copy.source_lun is not None:
            problems += _others(session, copy.source_lun, names)


def _uncopied(session: Session, machine_id: str, name: str, volumes: AbstractSet[str | None]) -> list[str]:
    """Disks of a machine without a replica that lie on volumes which are not replicated."""
    attached = list(session.scalars(sa.select(Disk).where(Disk.machine_id == machine_id)))
    left = sorted({session.get_one(Lun, disk.lun_id).name for disk in attached if disk.lun_id not in volumes})
    if not left:
        return []
    return [f"machine {name} is not replicated: it has no replica, and neither has volume {', '.join(left)}"]


def _others(session: Session, lun_id: str, names: Mapping[str, str]) -> list[str]:
    """Machines outside of the scope whose disks would go along."""
    query = (
        sa.select(VirtualMachine.name)
        .join(Disk, Disk.machine_id == VirtualMachine.id)
        .where(Disk.lun_id == lun_id, VirtualMachine.id.not_in(list(names)))
    )
    others = list(session.scalars(query))
    if not others:
        return []
    lun = session.get_one(Lun, lun_id)
    return [
        f"volume {lun.name} fails over as a whole, and {listing(others)} has disks on it: take that into the plan too"
    ]


def _policies(session: Session, rows: Sequence[VirtualMachine], cpool: Cpool) -> Iterator[str]:
    """A policy stores in another zone than the machine: there it would not."""
    for machine in rows:
        for policy in policies.of_machine(session, machine.id):
            if policy.zone == cpool.zone:
                yield (
                    f"machine {machine.name} would be in {cpool.zone}, where its backup policy {policy.name} stores: no backup is made "
                    "there until it has a policy of another zone"
                )


def _judge_compute(
    session: Session, world: World, cpool: Cpool, rows: Sequence[VirtualMachine], problems: list[str]
) -> tuple[int, int]:
    candidates = [found for found in choosing.candidates(session, world, cpool) if found.connected and not found.closed]
    enabled = lent_memory(cpool.memory, cpool.memory_overcommit)
    free = max(enabled - choosing.used(session, cpool.id), 0)
    needed = sum(machine.memory for machine in rows)
    if needed > free:
        missing = size_text(needed - free)
        problems.append(
            f"its machines need {size_text(needed)} and cpool {cpool.name} has {size_text(free)} left: raise its memory by {missing}, "
            "or stop machines there"
        )
        return needed, free
    rooms = {
        found.name: Room(
            max(found.memory - found.reserved, 0),
            None if found.vcpu_limit is None else max(found.vcpu_limit - found.vcpus, 0),
        )
        for found in candidates
    }
    lost = rules.unplaced([Demand(machine.name, machine.memory, machine.cpu) for machine in rows], rooms)
    if lost:
        largest = max((room.memory for room in rooms.values()), default=0)
        problems.append(
            f"{listing(lost)} would find no blade of cpool {cpool.name}, whose {len(rooms)} connected blade(s) have at most "
            f"{size_text(largest)} free each"
        )
    return needed, free


def _judge_networks(session: Session, scope: Scope, cpool: Cpool, problems: list[str]) -> None:
    used = _vlans_of(session, [member.machine_id for member in scope.members])
    for vlan_id, vlan in used.items():
        target = session.get(Vlan, scope.networks.get(vlan_id, vlan_id))
        if target is None:
            problems.append(f"the network that stands for {vlan.name} at the other side is gone")
        elif cpool.id not in vlans.pools_of(session, target.id):
            problems.append(
                f"cpool {cpool.name} does not carry network {target.name}: propagate it there, or name another one for it"
            )

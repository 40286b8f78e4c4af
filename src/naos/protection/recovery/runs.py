"""Tests and failovers: what they would do, told beforehand, and the plans of their activities."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.compute import hooks, machines
from naos.compute.models import Power, VirtualMachine
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.protection.recovery import plans, remnants, replicas, reports, rules, scopes, trying
from naos.protection.recovery.errors import PlanUnsound, WrongState
from naos.protection.recovery.models import RecoveryPlan, RecoveryRun, Replica
from naos.protection.recovery.rules import Check, Kind, RunState, State
from naos.protection.recovery.scopes import PLAN, Copy, Scope
from naos.storage import disks, luns
from naos.storage.models import Lun
from naos.world import World

Subject = RecoveryPlan | Replica


@dataclass(frozen=True)
class Wish:
    """source_is_down: a person says that the old zone is off. hold: seconds for which a test's machines stay up. point_id: of a
    replica, this point instead of the last one."""

    kind: Kind
    source_is_down: bool = False
    hold: int = 0
    point_id: str | None = None


def scope_of(session: Session, subject: Subject) -> Scope:
    if isinstance(subject, RecoveryPlan):
        return scopes.of_plan(session, subject)
    return scopes.of_replica(session, subject)


def subject_lock(scope: Scope) -> Lock:
    return Lock(f"{scope.kind}:{scope.subject_id}")


def plan_run(session: Session, world: World, subject: Subject, wish: Wish) -> Plan:
    """A test or a failover. Raises WrongState, PlanUnsound with every problem and its numbers."""
    scope = scope_of(session, subject)
    scopes.copies(session, scope, wish.point_id)  # a point that is not there is refused before anything else
    _check_state(session, scope, wish)
    left = scope if wish.kind == Kind.TEST else scopes.pending(session, scope)
    judged = plans.judge(session, world, left, point_id=wish.point_id, kind=wish.kind)
    if judged.problems:
        raise PlanUnsound(scope.name, "; ".join(judged.problems))
    run = RecoveryRun(
        tenant_id=subject.tenant_id,
        subject_id=scope.subject_id,
        name=scope.name,
        kind=wish.kind,
        state=RunState.RUNNING,
        promise=scope.promise,
    )
    session.add(run)
    session.flush()
    arguments: dict[str, Any] = {
        "run_id": run.id,
        "scope": scope.plain(),
        "copies": [copy.plain() for copy in judged.copies],
        "source_is_down": wish.source_is_down,
        "point_id": wish.point_id,
    }
    ending = Undo("recovery_run.close", {"run_id": run.id}, "wrote the report")
    if wish.kind == Kind.TEST:
        made = trying.ids_for(scope)
        arguments |= {"made": made, "hold": wish.hold}
        own = (*(machines.lock(made[member.machine_id]) for member in scope.members), Lock(f"vlan:{made['vlan']}"))
    else:
        own = _locks_of_failover(session, scope, judged.copies)
    return Plan(
        kind="recovery.test" if wish.kind == Kind.TEST else "recovery.failover",
        description=_description(session, scope, wish),
        arguments=arguments | {"kind": wish.kind.value},
        locks=(subject_lock(scope), cpools.lock(scope.cpool_id, shared=True), *_volumes(judged.copies), *own),
        concerned=(Item(scope.subject_id, scope.kind), *(machines.item(member.machine_id) for member in scope.members)),
        type="ReplicationActivity",
        undo=(ending,),
    )


def _volumes(copies: list[Copy]) -> tuple[Lock, ...]:
    return tuple(luns.lock(lun_id, shared=True) for lun_id in sorted({copy.lun_id for copy in copies}))


def _locks_of_failover(session: Session, scope: Scope, copies: list[Copy]) -> tuple[Lock, ...]:
    """The machines for themselves, and what copies them; nobody who waits for the old side holds the volumes there."""
    held: list[Lock] = []
    for member in scope.members:
        machine = session.get_one(VirtualMachine, member.machine_id)
        hooks.power_off_wanted(session, machine.id)
        held.append(machines.lock(machine.id))
        held += [disks.flatten_lock(disk.id) for disk in disks.of_machine(session, machine.id)]
    held += [replicas.lock(copy.id) for copy in copies if copy.kind == "machine"]
    return tuple(held)


def _description(session: Session, scope: Scope, wish: Wish) -> str:
    cpool = session.get_one(Cpool, scope.cpool_id)
    what = f"recovery plan {scope.name}" if scope.kind == PLAN else f"machine {scope.name}"
    words = {
        Kind.TEST: f"Test {what} in {cpool.zone}",
        Kind.PLANNED: f"Move {what} to {cpool.zone} without loss",
        Kind.UNPLANNED: f"Fail {what} over to {cpool.zone}",
        Kind.FAILBACK: f"Bring {what} back to {cpool.zone}",
    }
    return words[wish.kind]


def _check_state(session: Session, scope: Scope, wish: Wish) -> None:
    what = "Recovery plan" if scope.kind == PLAN else "Machine"
    if reports.open_of(session, scope.subject_id) is not None:
        raise WrongState(what, scope.name, "is being tested or failed over", "wait for that to end")
    if scope.state != State.FAILED_OVER:
        return
    if wish.kind != Kind.TEST and not scopes.pending(session, scope).members:
        remedy = "reverse its replication first; bringing it back is the next failover"
        raise WrongState(what, scope.name, "is at its other side already", remedy)
    if wish.kind == Kind.TEST:
        raise WrongState(what, scope.name, "has no copy since its failover", "reverse its replication first")


def plan_reverse(session: Session, subject: Subject) -> Plan:
    """From now on the machines are copied back to where they came from. Raises WrongState, StillUnfenced."""
    scope = scope_of(session, subject)
    what = "Recovery plan" if scope.kind == PLAN else "Machine"
    if scope.state != State.FAILED_OVER:
        raise WrongState(what, scope.name, "has not failed over", "there is nothing to reverse")
    remnants.check_fenced(session, [member.machine_id for member in scope.members])
    return Plan(
        kind="recovery.reverse",
        description=f"Replicate {scope.name} back to where it came from",
        arguments={"scope": scope.plain()},
        locks=(subject_lock(scope), *(Lock(f"{replicas.KIND}:{copy.id}") for copy in scopes.copies(session, scope))),
        concerned=(Item(scope.subject_id, scope.kind),),
        type="ReplicationActivity",
    )


def plan_discard(session: Session, subject: Subject) -> Plan:
    """Delete what failovers left on old volumes. Raises StillUnfenced."""
    scope = scope_of(session, subject)
    ids = [member.machine_id for member in scope.members]
    remnants.check_fenced(session, ids)
    left = remnants.of_machines(session, ids)
    return Plan(
        kind="recovery.discard",
        description=f"Delete {len(left)} disk(s) that {scope.name} left behind",
        arguments={"machine_ids": ids, "subject_id": scope.subject_id},
        locks=(
            subject_lock(scope),
            *(luns.lock(lun_id, shared=True) for lun_id in sorted({row.lun_id for row in left})),
        ),
        concerned=(Item(scope.subject_id, scope.kind),),
        type="ReplicationActivity",
    )


# ----------------------------------------------------------------------------------------------------------- told beforehand


def explain(session: Session, world: World, subject: Subject, wish: Wish) -> tuple[list[str], plans.Judgement]:
    """The steps that a run would take, in words, and whether it could. Nothing is changed."""
    scope = scope_of(session, subject)
    judged = plans.judge(session, world, scope, point_id=wish.point_id, kind=wish.kind)
    told: list[str] = []
    cpool = session.get(Cpool, scope.cpool_id)
    if cpool is None:
        return told, judged
    if wish.kind == Kind.TEST:
        told.append(f"make a network that {cpool.name} alone carries")
        told += [f"copy {_point(session, copy)} to test disks; its replication goes on" for copy in judged.copies]
    elif wish.kind == Kind.UNPLANNED:
        told += [
            f"cut {member.name} off: its disks' exports, or else its process, or its blade's power"
            for member in scope.members
        ]
    else:
        told += [_leaving(session, scope, member) for member in scope.members]
        told += [f"copy what {_names(session, copy)} wrote last" for copy in judged.copies]
    if wish.kind != Kind.TEST:
        told += [f"make {_point(session, copy)} the disks of {_names(session, copy)}" for copy in judged.copies]
    told += _starts(scope, cpool.name)
    if wish.kind == Kind.TEST:
        told.append("remove the test's machines, disks and network, and sign the report")
    else:
        told.append("sign the report; what is left on the old side is kept until it is discarded or copied over")
    return told, judged


def _starts(scope: Scope, pool: str) -> list[str]:
    told = []
    by_id = {member.machine_id: member for member in scope.members}
    for group in rules.turns(rules.Turn(one.machine_id, one.turn, one.delay) for one in scope.members):
        for one in group:
            member = by_id[one.machine_id]
            delay = f" after {member.delay} s" if member.delay else ""
            told.append(f"start {member.name} in {pool}{delay}")
        for one in group:
            member = by_id[one.machine_id]
            if member.check == Check.AGENT:
                told.append(f"wait for the agent of {member.name}, for {member.patience} s at most")
            elif member.check == Check.LINE:
                told.append(
                    f"wait for {member.expects!r} on the console of {member.name}, for {member.patience} s at most"
                )
    return told


def _leaving(session: Session, scope: Scope, member: scopes.Member) -> str:
    machine = session.get(VirtualMachine, member.machine_id)
    if machine is not None and machine.power == Power.STOPPED:
        return f"{member.name} is stopped"
    return f"shut {member.name} down, for {scope.shutdown} s at most, then cut its power"


def _names(session: Session, copy: Copy) -> str:
    return ", ".join(machines.name_of(session, machine_id) for machine_id in copy.machine_ids)


def _point(session: Session, copy: Copy) -> str:
    lun = session.get(Lun, copy.lun_id)
    where = lun.name if lun is not None else copy.lun_id
    return f"the point of {copy.instant or 'never'} on volume {where}"

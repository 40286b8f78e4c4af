"""From the tables of recovery to what the wire shows."""

from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.database import Base
from naos.fleet.models import Cpool
from naos.protection.recovery import plans, remnants, replicas, reports, rules, scopes
from naos.protection.recovery.models import PlanMember, RecoveryPlan, RecoveryRun, Replica
from naos.protection.recovery.rules import RunState, State
from naos.protection.recovery.wire import (
    ExplanationWire,
    NetworkMapping,
    PlanMemberWire,
    PlanWire,
    ReplicaPointWire,
    ReplicaWire,
    RunWire,
)
from naos.storage.models import Lun
from naos.wire import Reference
from naos.world import World


def _names(session: Session, table: type[Base], ids: Sequence[str]) -> dict[str, str]:
    columns = table.__table__.c
    query = sa.select(columns.id, columns.name).where(columns.id.in_(list(ids)))
    return {row[0]: row[1] for row in session.execute(query)}


def _reference(names: dict[str, str], identifier: str) -> Reference:
    return Reference(id=identifier, name=names.get(identifier, ""))


def shown_replicas(session: Session, found: Sequence[Replica]) -> list[ReplicaWire]:
    now = datetime.now(UTC)
    machine_names = _names(session, VirtualMachine, [row.machine_id for row in found])
    pool_names = _names(session, Cpool, [row.cpool_id for row in found])
    lun_names = _names(session, Lun, [row.lun_id for row in found])
    points = replicas.points_of(session, [row.id for row in found])
    shown = []
    for row in found:
        age = rules.worst_age(row.instant, now)
        failed_over = row.state == State.FAILED_OVER
        shown.append(
            ReplicaWire(
                id=row.id,
                virtual_machine=_reference(machine_names, row.machine_id),
                host_cluster=_reference(pool_names, row.cpool_id),
                datastore=_reference(lun_names, row.lun_id),
                interval=row.interval,
                keep=row.keep,
                state=row.state,
                age=None if failed_over or age is None else round(age, 3),
                late=not failed_over and (age is None or age > 2 * row.interval),
                last_seconds=round(row.seconds, 3),
                last_sent=row.sent,
                failure=row.failure,
                warning=rules.pressure(sent=row.sent, seconds=row.seconds, interval=row.interval),
                next_at=row.due_at.isoformat() if row.state == State.ACTIVE else None,
                points=[
                    ReplicaPointWire(id=point.point_id, instant=point.instant.isoformat(), sent=point.sent)
                    for point in points[row.id]
                ],
            )
        )
    return shown


def shown_plans(session: Session, world: World, found: Sequence[RecoveryPlan]) -> list[PlanWire]:
    members = plans.members_of(session, [plan.id for plan in found])
    ids = [member.machine_id for rows in members.values() for member in rows]
    machine_names = _names(session, VirtualMachine, ids)
    pool_names = _names(session, Cpool, [plan.cpool_id for plan in found] + [plan.home_cpool_id for plan in found])
    shown = []
    for plan in found:
        scope = scopes.of_plan(session, plan)
        judged = plans.judge(session, world, scopes.pending(session, scope)) if plan.state == State.READY else None
        left = remnants.of_machines(session, [member.machine_id for member in members[plan.id]])
        shown.append(
            PlanWire(
                id=plan.id,
                name=plan.name,
                home_host_cluster=_reference(pool_names, plan.home_cpool_id) if plan.home_cpool_id else None,
                host_cluster=_reference(pool_names, plan.cpool_id),
                state=plan.state,
                reserve=plan.reserve,
                promise=plan.promise,
                shutdown=plan.shutdown,
                machines=[_member(machine_names, member) for member in members[plan.id]],
                networks=[
                    NetworkMapping(network_id=source, destination_network_id=target)
                    for source, target in plan.networks.items()
                ],
                problems=judged.problems if judged is not None else ["it has failed over: reverse it"],
                needed_memory=judged.needed if judged is not None else 0,
                free_memory=judged.free if judged is not None else 0,
                age=judged.age if judged is not None else None,
                remnants=len(left),
                unfenced=sum(not row.fenced for row in left),
            )
        )
    return shown


def _member(names: dict[str, str], member: PlanMember) -> PlanMemberWire:
    return PlanMemberWire(
        virtual_machine=_reference(names, member.machine_id),
        order=member.turn,
        delay=member.delay,
        check=member.check,
        line=member.expects,
        patience=member.patience,
        addresses=[{"macAddress": mac, **given} for mac, given in member.addresses.items()],
    )


def shown_explanation(told: Sequence[str], judged: plans.Judgement) -> ExplanationWire:
    return ExplanationWire(
        steps=list(told),
        problems=judged.problems,
        remarks=judged.remarks,
        needed_memory=judged.needed,
        free_memory=judged.free,
        age=judged.age,
    )


def shown_run(session: Session, world: World, run: RecoveryRun) -> RunWire:
    ended = run.state != RunState.RUNNING
    return RunWire(
        id=run.id,
        subject_id=run.subject_id,
        name=run.name,
        kind=run.kind,
        state=run.state,
        promise=run.promise,
        started_at=run.started_at.isoformat(),
        ended_at=run.ended_at.isoformat() if run.ended_at else None,
        steps=[reports.shown(step) for step in reports.steps_of(session, run.id)],
        report=run.report if ended else None,
        hash=run.hash,
        seal=run.seal,
        key_id=run.key_id,
        genuine=ended and reports.is_genuine(world, run),
    )

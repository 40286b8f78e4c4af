"""Runs of a policy's job: begun, one at a time, followed machine by machine, and closed with their counts."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan
from naos.protection.backup import members, schedule, terms
from naos.protection.backup.errors import JobRunning, NothingToRun
from naos.protection.backup.models import BackupTask, PolicyRun
from naos.protection.errors import JobHeld
from naos.protection.models import BackupJob, BackupPolicy, BackupRun
from naos.protection.notices import outbox
from naos.protection.notices.rules import Event
from naos.protection.rules import RunStatus
from naos.world import World

POLL_SECONDS = 0.1
ENDED = ("COMPLETED", "FAILED", "SKIPPED")
MOST_TOLD = 50
"""Machines that a notice of a run names."""
_log = structlog.get_logger()


class TaskStatus:
    """Of a machine in a run."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


def job_of(session: Session, policy_id: str) -> BackupJob:
    return session.scalars(sa.select(BackupJob).where(BackupJob.policy_id == policy_id)).one()


def running(session: Session, policy_id: str) -> BackupRun | None:
    """The policy's run that is under way."""
    query = (
        sa.select(BackupRun)
        .join(BackupJob, BackupJob.number == BackupRun.job_number)
        .where(BackupJob.policy_id == policy_id, BackupRun.status == RunStatus.RUNNING)
    )
    return session.scalar(query.limit(1))


def plan_wanted(session: Session, tenant_id: str, policy: BackupPolicy, only: list[str] | None = None) -> Plan:
    """A run because somebody asked for it. `only`: of these machines. Raises JobHeld, JobRunning, NothingToRun, Unknown."""
    job = job_of(session, policy.id)
    if policy.held:
        raise JobHeld(str(job.number), policy.name)
    present = running(session, policy.id)
    if present is not None:
        tasks = tasks_of(session, present.number)
        ended = sum(task.status in ENDED for task in tasks)
        raise JobRunning(policy.name, present.started_at.strftime("%Y-%m-%d %H:%M UTC"), ended, len(tasks))
    machines = members.machines_of(session, policy.id)
    if only is not None:
        machines = [machine for machine in machines if machine.id in only]
    if not machines:
        raise NothingToRun(policy.name, "no machine has it" if only is None else "this machine does not have it")
    return _plan(session, tenant_id, policy, due_at=None, only=only)


def plan_due(session: Session, policy_id: str, now: datetime) -> Plan | None:
    """Decide what has become due, in the transaction that begins a run of it; None when there is none to begin."""
    policy = session.get(BackupPolicy, policy_id)
    if policy is None or policy.zone is None:
        return None
    row = terms.row_of(session, policy)
    found = terms.read(session, policy)
    present = running(session, policy_id)
    decision = schedule.decide(
        found.rhythms,
        found.zone,
        handled=row.handled_until,
        now=now,
        busy=present is not None,
        open_now=schedule.is_open(found.window, now, found.zone),
    )
    row.handled_until = decision.handled
    if present is not None and decision.missed and not policy.held:
        row.overruns, row.overran_at = row.overruns + decision.missed, now
        _overran(session, policy, present, decision.missed, now)
    if decision.run is None or policy.held or not members.machines_of(session, policy_id):
        return None
    return _plan(session, policy.tenant_id, policy, due_at=decision.run, only=None)


def _plan(
    session: Session, tenant_id: str, policy: BackupPolicy, *, due_at: datetime | None, only: list[str] | None
) -> Plan:
    job = job_of(session, policy.id)
    return Plan(
        kind="backup_job.protect",
        description=f"Run {policy.name}" + (f", due at {due_at:%Y-%m-%d %H:%M} UTC" if due_at is not None else ""),
        arguments={
            "job": job.number,
            "tenant_id": tenant_id,
            "policy_id": policy.id,
            "due_at": due_at.isoformat() if due_at is not None else None,
            "only": only,
        },
        locks=(Lock(f"backup_job:{job.number}"),),
        concerned=(Item(str(job.number), "backup_job"), Item(policy.id, "backup_policy")),
        type="BackupActivity",
    )


def tasks_of(session: Session, run_number: int) -> list[BackupTask]:
    query = sa.select(BackupTask).where(BackupTask.run_number == run_number)
    return list(session.scalars(query.order_by(BackupTask.name, BackupTask.machine_id)))


# ---------------------------------------------------------------------------------------------------------------- steps


def open_run(world: World, arguments: dict[str, Any], activity_id: str) -> int:
    """The run's number: its row, and a task for each machine, whom the scheduler hands out."""
    policy_id, only = arguments["policy_id"], arguments["only"]
    due_at = datetime.fromisoformat(arguments["due_at"]) if arguments["due_at"] else None
    with world.database.write() as session:
        known = session.scalar(sa.select(BackupRun.number).where(BackupRun.activity_id == activity_id))
        if known is not None:
            return known
        machines = [m for m in members.machines_of(session, policy_id) if only is None or m.id in only]
        run = BackupRun(
            tenant_id=arguments["tenant_id"],
            job_number=arguments["job"],
            activity_id=activity_id,
            status=RunStatus.RUNNING,
            total=len(machines),
        )
        session.add(run)
        session.flush()
        session.add(PolicyRun(run_number=run.number, policy_id=policy_id, due_at=due_at))
        session.add_all(
            BackupTask(
                run_number=run.number,
                machine_id=machine.id,
                tenant_id=machine.tenant_id,
                name=machine.name,
                status=TaskStatus.WAITING,
            )
            for machine in machines
        )
        return run.number


def follow(world: World, run_number: int, progress: Callable[[float], None]) -> None:
    """Wait until every machine's task has ended, then note the counts."""
    while True:
        with world.database.read() as session:
            counts: dict[str, int] = {
                str(status): int(count)
                for status, count in session.execute(
                    sa.select(BackupTask.status, sa.func.count())
                    .where(BackupTask.run_number == run_number)
                    .group_by(BackupTask.status)
                )
            }
        total = sum(counts.values())
        ended = sum(counts.get(status, 0) for status in ENDED)
        if ended == total:
            break
        progress(ended / total)
        time.sleep(POLL_SECONDS)
    close(world, run_number, counts)


def close(world: World, run_number: int, counts: dict[str, int]) -> None:
    success, failed, skipped = (counts.get(status, 0) for status in ENDED)
    status = RunStatus.COMPLETED if not failed else RunStatus.PARTIAL if success else RunStatus.FAILED
    with world.database.write() as session:
        run = session.get_one(BackupRun, run_number)
        if run.ended_at is None:
            run.status, run.ended_at = status, datetime.now(UTC)
            run.success, run.failed, run.skipped = success, failed, skipped
            _tell(session, run)


def abandon(world: World, activity_id: str) -> None:
    """A run that failed as a whole: what was not begun is not begun any more."""
    with world.database.write() as session:
        number = session.scalar(sa.select(BackupRun.number).where(BackupRun.activity_id == activity_id))
        if number is None:
            return
        session.execute(
            sa.update(BackupTask)
            .where(BackupTask.run_number == number, BackupTask.status == TaskStatus.WAITING)
            .values(status=TaskStatus.SKIPPED, reason="the run was given up", ended_at=datetime.now(UTC))
        )
        run = session.get_one(BackupRun, number)
        if run.ended_at is None:
            run.status, run.ended_at = RunStatus.FAILED, datetime.now(UTC)
            session.flush()
            _tell(session, run)


def _overran(session: Session, policy: BackupPolicy, run: BackupRun, missed: int, now: datetime) -> None:
    """The run is still going and so many more were due, which are left out. It is told of once a run, however many follow."""
    _log.warning("backup.overrun", policy=policy.name, run=run.number, missed=missed)
    row = session.get_one(PolicyRun, run.number)
    first = not row.overruns
    row.overruns, row.overran_at = row.overruns + missed, now
    if not first:
        return
    tasks = tasks_of(session, run.number)
    ended = sum(task.status in ENDED for task in tasks)
    began = f"{run.started_at:%Y-%m-%d %H:%M} UTC"
    at_work = [task.name for task in tasks if task.status == TaskStatus.RUNNING]
    outbox.tell(
        session,
        policy.tenant_id,
        Event.RUN_OVERRAN,
        f"Backup {policy.name}: still going when the next run was due",
        f"Run {run.number} of policy {policy.name}, begun {began}, has copied or left {ended} of its {len(tasks)} machines, and the next run"
        f" was due: it is left out, and so are all that become due until this one ends."
        + (f" It is at {', '.join(at_work)}." if at_work else "")
        + " A rhythm with more room, fewer machines a policy, or a higher speed (naos policy terms) prevents it.",
        run=run.number,
        policy=policy.name,
        startedAt=int(run.started_at.timestamp() * 1000),
        ended=ended,
        machines=len(tasks),
    )


def _tell(session: Session, run: BackupRun) -> None:
    """Whoever wants to hear of runs hears how this one ended, and of the machines that were not copied."""
    policy_id = session.scalar(sa.select(PolicyRun.policy_id).where(PolicyRun.run_number == run.number))
    policy = session.get(BackupPolicy, policy_id) if policy_id is not None else None
    name = policy.name if policy is not None else f"job {run.job_number}"
    tasks = tasks_of(session, run.number)
    counts = {what: sum(task.status == what for task in tasks) for what in ENDED}
    said = f"{counts['COMPLETED']} of {len(tasks)} machines copied"
    lines = [f"Run {run.number} of policy {name}: {said}."]
    lacking = [task for task in tasks if task.status in (TaskStatus.FAILED, TaskStatus.SKIPPED)]
    lines += [f"- {task.name} {task.status.lower()}: {task.reason}" for task in lacking[:MOST_TOLD]]
    lines += [f"- and {len(lacking) - MOST_TOLD} more"] if len(lacking) > MOST_TOLD else []
    event = Event.RUN_COMPLETED if run.status == RunStatus.COMPLETED else Event.RUN_FAILED
    outbox.tell(
        session,
        run.tenant_id,
        event,
        f"Backup {name}: {'ended' if event is Event.RUN_COMPLETED else 'failed'}, {said}",
        "\n".join(lines),
        run=run.number,
        policy=name,
        status=str(run.status),
        copied=counts["COMPLETED"],
        failed=counts["FAILED"],
        skipped=counts["SKIPPED"],
    )


def end_task(
    session: Session, run_number: int, machine_id: str, status: str, reason: str = "", *, copied: int | None = None
) -> None:
    """A task that has ended is left as it is."""
    values: dict[str, Any] = {"status": status, "reason": reason, "ended_at": datetime.now(UTC)}
    if copied is not None:
        values["copied"] = copied
    session.execute(
        sa.update(BackupTask)
        .where(BackupTask.run_number == run_number, BackupTask.machine_id == machine_id)
        .where(BackupTask.status.in_((TaskStatus.WAITING, TaskStatus.RUNNING)))
        .values(**values)
    )

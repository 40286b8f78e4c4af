"""The copy of one machine in a run: all its disks at one instant, brought to the policy's vault as a restore point."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Lock, Plan, Undo
from naos.activity.errors import Yielded
from naos.activity.execution import Throttle
from naos.activity.models import Activity, ActivityLock, State
from naos.compute import machines, steps
from naos.compute.models import VirtualMachine
from naos.engines.errors import EngineError, Unreachable
from naos.engines.ports import Hypervisor
from naos.errors import Unknown
from naos.fleet.models import Cpool
from naos.fleet.places import stable_id
from naos.insistence import insist
from naos.lifecycle import Lifecycle
from naos.protection import copying, policies, rules
from naos.protection.backup import describing, members, points, quotas, runs, terms, vaults
from naos.protection.backup.errors import NotQuiesced
from naos.protection.backup.models import BackupTask, PointDisk, PolicyRun, RestorePoint
from naos.protection.backup.points import Consistency, PointState
from naos.protection.backup.runs import TaskStatus
from naos.protection.backup.terms import Quiesce, Terms
from naos.protection.copying import Order, Part, Progress, Where
from naos.protection.models import BackupPolicy
from naos.storage import disks
from naos.storage.models import Disk
from naos.world import World

FREEZE_SECONDS = 10
"""For so long at most a guest's file systems are at rest; Windows does not hold longer."""
_log = structlog.get_logger()


def set_of(policy_id: str, machine_id: str, vault: str) -> str:
    """The copy engine's set of what a policy keeps of a machine in a vault."""
    return stable_id(machine_id, f"backup {policy_id} {vault}")


def plan(session: Session, task: BackupTask) -> Plan:
    """The activity of a waiting task: it gives way to whoever wants to change the disks, and begins anew after."""
    policy_id = session.execute(_policy_of_run(task.run_number)).scalar_one()
    policy = session.get_one(BackupPolicy, policy_id)
    chosen, _ = members.disks_of(session, task.machine_id, policy_id)
    arguments = {"run": task.run_number, "machine_id": task.machine_id, "policy_id": policy_id}
    task.status, task.started_at = TaskStatus.RUNNING, datetime.now(UTC)
    return Plan(
        kind="virtual_machine.backup",
        description=f"Back {task.name} up under {policy.name}",
        arguments=arguments,
        locks=(Lock(f"backup:{task.machine_id}"), *(disks.flatten_lock(disk.id) for disk in chosen)),
        concerned=(machines.item(task.machine_id),),
        type="BackupActivity",
        undo=(Undo("virtual_machine.backup", arguments, "dropped what had been copied"),),
        preemptible=True,
    )


def _policy_of_run(run_number: int) -> sa.Select[Any]:
    return sa.select(PolicyRun.policy_id).where(PolicyRun.run_number == run_number)


# ---------------------------------------------------------------------------------------------------------------- steps


def reserve(world: World, arguments: dict[str, Any], activity_id: str) -> dict[str, Any] | None:
    """The order of the point to take, its rows written; None when there is nothing to copy, which the task says.

    A point of an earlier round that was not completed is dropped. Raises SameZone, QuotaReached, EncryptedInClear, Unreachable.
    """
    run, machine_id, policy_id = arguments["run"], arguments["machine_id"], arguments["policy_id"]
    drop_unfinished(world, machine_id, policy_id)
    protecting = vaults.at_rest(world, policy_id, machine_id)
    with world.database.write() as session:
        session.execute(
            sa.update(BackupTask)
            .where(BackupTask.run_number == run, BackupTask.machine_id == machine_id)
            .values(activity_id=activity_id)
        )
        policy, machine = session.get(BackupPolicy, policy_id), session.get(VirtualMachine, machine_id)
        reason = _nothing_to_copy(session, policy, machine)
        if reason is not None or policy is None or policy.zone is None or machine is None:
            runs.end_task(session, run, machine_id, TaskStatus.SKIPPED, reason or "")
            return None
        zone = session.get_one(Cpool, machine.cpool_id).zone
        rules.check_zones(machine.name, zone, policies.ruled([policy]))
        quotas.check(session, machine.tenant_id, machine.name)
        chosen, left_out = members.disks_of(session, machine_id, policy_id)
        found = terms.read(session, policy)
        vault, remarks = vaults.choose(session, world.inventory, policy, machine, chosen, protecting)
        now = datetime.now(UTC)
        point = RestorePoint(
            tenant_id=machine.tenant_id,
            machine_id=machine.id,
            machine_name=machine.name,
            policy_id=policy.id,
            policy_name=policy.name,
            zone=policy.zone,
            vault=vault,
            set_id=set_of(policy_id, machine_id, vault),
            taken_at=now,
            state=PointState.COPYING,
            note="; ".join([*left_out, *remarks]),
            machine=describing.describe(session, machine),
            size=sum(disk.capacity for disk in chosen),
        )
        session.add(point)
        session.flush()
        session.add_all(
            PointDisk(point_id=point.id, disk_id=disk.id, name=disk.name, unit=disk.unit, size=disk.capacity)
            for disk in chosen
        )
        parts = tuple(Part(disk.lun_id, disk.id) for disk in chosen)
        order = Order(point.set_id, point.id, Where("vault", vault), parts, found.speed, yielding=True)
    return order.plain()


def _nothing_to_copy(session: Session, policy: BackupPolicy | None, machine: VirtualMachine | None) -> str | None:
    if policy is None or policy.zone is None:
        return "its policy is gone"
    if policy.held:
        return "its policy was held meanwhile"
    if machine is None or machine.lifecycle != Lifecycle.ACTIVE:
        return "it is being made or deleted, or is gone"
    chosen, left_out = members.disks_of(session, machine.id, policy.id)
    if not chosen:
        return "it has no disk to copy" + (f" ({'; '.join(left_out)})" if left_out else "")
    return None


def drop_unfinished(world: World, machine_id: str, policy_id: str) -> None:
    """Cancel and forget the points of a machine under a policy that were begun and not completed."""
    with world.database.read() as session:
        begun = list(
            session.scalars(
                sa.select(RestorePoint).where(
                    RestorePoint.machine_id == machine_id,
                    RestorePoint.policy_id == policy_id,
                    RestorePoint.state == PointState.COPYING,
                )
            )
        )
    for point in begun:
        with world.database.read() as session:
            held = points.disks_of(session, [point.id])[point.id]
            parts = []
            for row in held:
                disk = session.get(Disk, row.disk_id)
                if disk is not None:
                    parts.append(Part(disk.lun_id, disk.id))
        order = Order(point.set_id, point.id, points.where(point), tuple(parts))
        insist(copying.cancel, world, order)
        # what the vault completed before the tables heard of it is nobody's: it goes
        insist(copying.drop, world, order.where, order.set_id, order.point_id)
        with world.database.write() as session:
            session.execute(sa.delete(RestorePoint).where(RestorePoint.id == point.id))


def prepare(world: World, order: Order) -> None:
    copying.prepare(world, order)


def begin(world: World, order: Order, arguments: dict[str, Any]) -> dict[str, Any]:
    """Begin all copies at one instant, the guest at rest where the policy wants it and it can be. Returns the instant, how
    consistent the point is, and what is to be said about it. Raises NotQuiesced where the policy requires what is not."""
    with world.database.read() as session:
        policy = session.get_one(BackupPolicy, arguments["policy_id"])
        quiesce = terms.read(session, policy).quiesce
    machine_id = arguments["machine_id"]
    again = _begun(world, order)
    guest = _guest(world, machine_id)
    if guest is None:
        instant = copying.begin(world, order)
        return _begun_as(instant, Consistency.STOPPED, "")
    if quiesce is Quiesce.OFF or again:
        instant = copying.begin(world, order, hold=_standing(guest, machine_id, order))
        note = (
            "the controller was interrupted in the moment of the copy" if again and quiesce is not Quiesce.OFF else ""
        )
        return _begun_as(instant, Consistency.CRASH, note)
    rest = Rest(guest, machine_id)
    instant = copying.begin(world, order, hold=rest.hold(_standing(guest, machine_id, order)))
    if rest.complaint and quiesce is Quiesce.REQUIRED:
        raise NotQuiesced(machines_name(world, machine_id), policy.name, rest.complaint)
    return _begun_as(instant, Consistency.CRASH if rest.complaint else Consistency.QUIESCED, rest.complaint)


def machines_name(world: World, machine_id: str) -> str:
    with world.database.read() as session:
        return machines.name_of(session, machine_id)


def _begun_as(instant: datetime, consistency: Consistency, note: str) -> dict[str, Any]:
    return {"instant": instant.isoformat(), "consistency": consistency.value, "note": note}


def _begun(world: World, order: Order) -> bool:
    """Whether an earlier call began the copies, and was cut short."""
    try:
        copying.look(world, order)
    except (EngineError, Unknown):
        return False
    return True


def _guest(world: World, machine_id: str) -> Hypervisor | None:
    """The hypervisor on which the machine runs; None for one that is off. Its blade may not answer: then nobody can be asked to be
    at rest, and the disks are copied as they are."""
    try:
        if not steps.is_running(world, machine_id):
            return None
        return world.rack.hypervisor(steps.home(world, machine_id))
    except Unreachable:
        return None


class Rest:
    """A guest at rest while copies begin, or a reason why it was not."""

    def __init__(self, guest: Hypervisor, machine_id: str) -> None:
        self._guest, self._machine_id = guest, machine_id
        self.complaint = ""

    def hold(self, otherwise: Callable[[], AbstractContextManager[Any]]) -> Callable[[], AbstractContextManager[Any]]:
        """`otherwise`: what to hold in its place when the guest's agent does not do as it is asked."""

        @contextlib.contextmanager
        def holding() -> Iterator[None]:
            self.complaint = ""
            with contextlib.ExitStack() as stack:
                freeze = None
                try:
                    freeze = stack.enter_context(copying.frozen(self._guest, self._machine_id, limit=FREEZE_SECONDS))
                except EngineError as error:  # it refuses, or its blade does not answer
                    self.complaint = f"the guest's file systems could not be put to rest: {error}"
                    stack.enter_context(otherwise())
                yield
            if freeze is not None and not freeze.held:
                self.complaint = (
                    f"the guest's file systems were not at rest any more after {FREEZE_SECONDS} s (quiesce_timeout)"
                )

        return holding


def _standing(guest: Hypervisor, machine_id: str, order: Order) -> Callable[[], AbstractContextManager[Any]]:
    """Of several volumes no daemon knows of the others: the guest's processors stand still while all copies begin."""
    if len({part.lun_id for part in order.parts}) < 2:
        return nullcontext

    @contextlib.contextmanager
    def standing() -> Iterator[None]:
        try:
            guest.pause(machine_id)
            yield
        finally:
            insist(guest.resume, machine_id)

    return standing


def follow(
    world: World, order: Order, progress: Callable[[float], None], yield_requested: Callable[[], bool]
) -> int | None:
    """Wait for the copies; how many bytes travelled. None when somebody wants to change the disks: what was copied is dropped."""
    sent = 0

    def report(found: Progress) -> None:
        nonlocal sent
        sent = found.done
        progress(found.share)
        if yield_requested():
            raise Yielded

    try:
        copying.follow(world, order, report)
    except Yielded:
        copying.cancel(world, order)
        return None
    return sent


class Courtesy:
    """Says, at most once a second, whether somebody waits for the machine's disks who is not background work itself: two of that kind
    would give way to each other for ever."""

    def __init__(self, world: World, activity_id: str) -> None:
        self._world, self._activity_id, self._due = world, activity_id, Throttle(1.0)

    def __call__(self) -> bool:
        return self._due() and self.somebody_waits()

    def somebody_waits(self) -> bool:
        mine = sa.select(ActivityLock.resource).where(ActivityLock.activity_id == self._activity_id)
        waiting = (
            sa.select(Activity.id)
            .join(ActivityLock, ActivityLock.activity_id == Activity.id)
            .where(ActivityLock.resource.in_(mine), Activity.state == State.WAITING, Activity.preemptible.is_(False))
        )
        with self._world.database.read() as session:
            return session.scalar(waiting.limit(1)) is not None


def finish(world: World, order: Order, arguments: dict[str, Any], begun: dict[str, Any], copied: int) -> None:
    """Complete in the vault, then in the tables, with the task."""
    instant = datetime.fromisoformat(begun["instant"])
    point = copying.finish(world, order, instant)
    with world.database.write() as session:
        row = session.get_one(RestorePoint, order.point_id)
        policy = session.get(BackupPolicy, row.policy_id)
        found: Terms | None = terms.read(session, policy) if policy is not None else None
        row.taken_at, row.consistency = instant, begun["consistency"]
        row.note = "; ".join(filter(None, (begun["note"], row.note)))
        row.stored, row.copied, row.size = point.stored, copied, sum(disk.size for disk in point.disks)
        if found is not None and found.immutable_days:
            row.immutable_until = instant + timedelta(days=found.immutable_days)
        for disk in point.disks:
            held = session.get(PointDisk, (row.id, disk.disk_id))
            if held is not None:
                held.size, held.stored = disk.size, disk.stored
        row.state = PointState.GOOD
        runs.end_task(session, arguments["run"], arguments["machine_id"], TaskStatus.COMPLETED, row.note, copied=copied)
        quotas.watch(session, row.tenant_id, datetime.now(UTC))


def note_failure(world: World, arguments: dict[str, Any], reason: str) -> None:
    with world.database.write() as session:
        runs.end_task(session, arguments["run"], arguments["machine_id"], TaskStatus.FAILED, reason)


def give_up(world: World, arguments: dict[str, Any]) -> None:
    """The compensation of all of it."""
    drop_unfinished(world, arguments["machine_id"], arguments["policy_id"])
    note_failure(world, arguments, "it failed; see its activity")

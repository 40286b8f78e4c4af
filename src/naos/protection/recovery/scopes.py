"""What a test or a failover is about, as plain values: the machines of a plan, or the one of a replica, and their copies."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.lifecycle import Lifecycle
from naos.protection import copying
from naos.protection.copying import Order, Part, Where
from naos.protection.recovery import replicas, rules
from naos.protection.recovery.models import PlanMember, RecoveryPlan, Replica, ReplicaPoint
from naos.protection.recovery.rules import Check, State
from naos.protection.replication import replications
from naos.protection.replication.models import LunReplication
from naos.storage import disks
from naos.storage.models import Disk
from naos.world import World

PLAN, REPLICA = "recovery_plan", replicas.KIND
CHECK_PATIENCE = 300
SHUTDOWN_PATIENCE = 120


@dataclass(frozen=True)
class Member:
    """addresses: MAC -> address and gateway of its guest at the other side."""

    machine_id: str
    name: str
    turn: int = 0
    delay: int = 0
    check: str = Check.NONE
    expects: str = ""
    patience: int = CHECK_PATIENCE
    addresses: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scope:
    """kind: of the subject. cpool_id: where the machines shall run. networks: VLAN of home -> VLAN there."""

    kind: str
    subject_id: str
    name: str
    cpool_id: str
    home_cpool_id: str
    networks: Mapping[str, str]
    members: tuple[Member, ...]
    promise: int
    shutdown: int
    state: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(plain: Mapping[str, Any]) -> "Scope":
        members = tuple(Member(**member) for member in plain["members"])
        return Scope(**{**plain, "members": members})


@dataclass(frozen=True)
class Copy:
    """What is kept of some machines' disks in the other zone: a set of the copy engine on a volume there.

    kind: ``machine`` (a replica) or ``volume`` (a replicated volume, `source_lun`); `id` is its row's. point_id, instant: the last
    complete point.
    """

    kind: str
    id: str
    set_id: str
    lun_id: str
    machine_ids: tuple[str, ...]
    point_id: str | None
    instant: str | None
    source_lun: str | None = None

    @property
    def where(self) -> Where:
        return Where("lun", self.lun_id)

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(plain: Mapping[str, Any]) -> "Copy":
        return Copy(**{**plain, "machine_ids": tuple(plain["machine_ids"])})


def of_plan(session: Session, plan: RecoveryPlan) -> Scope:
    rows = session.execute(
        sa.select(PlanMember, VirtualMachine.name)
        .join(VirtualMachine, VirtualMachine.id == PlanMember.machine_id)
        .where(PlanMember.plan_id == plan.id)
        .order_by(PlanMember.turn, PlanMember.delay, VirtualMachine.name)
    )
    members = tuple(
        Member(row.machine_id, name, row.turn, row.delay, row.check, row.expects, row.patience, dict(row.addresses))
        for row, name in rows
    )
    return Scope(
        PLAN,
        plan.id,
        plan.name,
        plan.cpool_id,
        plan.home_cpool_id,
        dict(plan.networks),
        members,
        plan.promise,
        plan.shutdown,
        plan.state,
    )


def of_replica(session: Session, replica: Replica) -> Scope:
    machine = session.get(VirtualMachine, replica.machine_id)
    if machine is None:
        raise Unknown("virtual machine", replica.machine_id)
    state = State.FAILED_OVER if replica.state == State.FAILED_OVER else State.READY
    return Scope(
        REPLICA,
        replica.id,
        machine.name,
        replica.cpool_id,
        machine.cpool_id,
        {},
        (Member(machine.id, machine.name),),
        rules.REPLICA_PROMISE,
        SHUTDOWN_PATIENCE,
        state,
    )


def copies(session: Session, scope: Scope, point_id: str | None = None) -> list[Copy]:
    """What is kept of the machines: a machine's replica, or else the replicas of the volumes that its disks are on. Of machines of
    which nothing is kept there is none here.

    point_id: this point of the one replica instead of the last one. Raises Unknown.
    """
    ids = [member.machine_id for member in scope.members]
    rows = list(session.scalars(sa.select(Replica).where(Replica.machine_id.in_(ids)).order_by(Replica.id)))
    found = []
    for row in rows:
        chosen, instant = row.point_id, row.instant
        if point_id is not None:
            point = session.get(ReplicaPoint, point_id)
            if point is None or point.replica_id != row.id:
                raise Unknown("point", point_id)
            chosen, instant = point.point_id, point.instant
        shown = instant.isoformat() if instant is not None else None
        found.append(Copy("machine", row.id, row.set_id, row.lun_id, (row.machine_id,), chosen, shown))
    own = {row.machine_id for row in rows}
    return found + _of_volumes(session, [machine_id for machine_id in ids if machine_id not in own])


def _of_volumes(session: Session, machine_ids: Sequence[str]) -> list[Copy]:
    users: dict[str, set[str]] = {}
    for disk in session.scalars(sa.select(Disk).where(Disk.machine_id.in_(list(machine_ids)))):
        users.setdefault(disk.lun_id, set()).add(str(disk.machine_id))
    rows = session.scalars(
        sa.select(LunReplication)
        .where(LunReplication.lun_id.in_(users), LunReplication.lifecycle == Lifecycle.ACTIVE)
        .order_by(LunReplication.id)
    )
    return [
        Copy(
            "volume",
            row.id,
            row.id,
            row.replica_id,
            tuple(sorted(users[row.lun_id])),
            row.point_id,
            row.instant.isoformat() if row.instant is not None and row.point_id is not None else None,
            row.lun_id,
        )
        for row in rows
    ]


def ages(found: Sequence[Copy], now: datetime) -> list[float | None]:
    """Seconds of each copy's last point, None without one."""
    return [rules.worst_age(_moment(copy.instant), now) for copy in found]


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None


def order(world: World, copy: Copy, point_id: str) -> Order:
    """A point of the copy's disks, where they are now."""
    with world.database.read() as session:
        if copy.kind == "volume":
            row = session.get(LunReplication, copy.id)
            if row is None:
                raise Unknown("replication", copy.id)
            return replace(replications.order(session, row, point_id), yielding=False)
        parts = tuple(
            Part(disk.lun_id, disk.id)
            for machine_id in copy.machine_ids
            for disk in disks.of_machine(session, machine_id)
        )
    return Order(copy.set_id, point_id, copy.where, parts)


def newest(world: World, copy: Copy) -> Copy:
    """The same with the last complete point that its place has; none when it has none."""
    present = copying.points(world, copy.where, copy.set_id)
    last = present[-1] if present else None
    return replace(copy, point_id=last.id if last else None, instant=last.instant.isoformat() if last else None)


def held(world: World, copy: Copy) -> list[str]:
    """Disks of the copy's point, as its place says. [] when the point is not there (any more)."""
    for point in copying.points(world, copy.where, copy.set_id):
        if point.id == copy.point_id:
            return [disk.disk_id for disk in point.disks]
    return []


def pending(session: Session, scope: Scope) -> Scope:
    """The same without the machines that have changed their side already."""
    rows = sa.select(VirtualMachine.id).where(
        VirtualMachine.id.in_([member.machine_id for member in scope.members]),
        VirtualMachine.cpool_id == scope.cpool_id,
    )
    there = set(session.scalars(rows))
    return replace(scope, members=tuple(member for member in scope.members if member.machine_id not in there))

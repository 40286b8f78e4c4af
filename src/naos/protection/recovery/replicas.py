"""Replicas of machines: rows, checks and plans. Nothing here touches the world."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.compute import machines
from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.fleet import cpools
from naos.fleet.models import Cpool
from naos.lifecycle import Lifecycle, check_ready
from naos.network import vlans
from naos.network.adapters import of_machine as adapters_of
from naos.network.models import Vlan
from naos.protection.recovery import rules
from naos.protection.recovery.errors import (
    AlreadyReplicated,
    InRecoveryPlan,
    NotReplicable,
    SameZoneReplica,
    WrongState,
)
from naos.protection.recovery.models import PlanMember, RecoveryPlan, Replica, ReplicaPoint
from naos.protection.recovery.rules import State
from naos.storage import disks, luns
from naos.storage.models import Disk, Lun
from naos.storage.rules import PERSISTENT, check_room
from naos.world import World

KIND = "recovery_replica"


def find(session: Session, tenant_id: str, replica_id: str) -> Replica:
    """Raises Unknown."""
    replica = session.get(Replica, replica_id)
    if replica is None or replica.tenant_id != tenant_id:
        raise Unknown("replica", replica_id)
    return replica


def of_machine(session: Session, machine_id: str) -> Replica | None:
    return session.scalar(sa.select(Replica).where(Replica.machine_id == machine_id))


def listed(session: Session, tenant_id: str, machine_id: str | None = None) -> list[Replica]:
    query = sa.select(Replica).where(Replica.tenant_id == tenant_id)
    if machine_id is not None:
        query = query.where(Replica.machine_id == machine_id)
    return list(session.scalars(query.order_by(Replica.created_at, Replica.id)))


def points_of(session: Session, replica_ids: Sequence[str]) -> dict[str, list[ReplicaPoint]]:
    """Complete points by replica, oldest first."""
    found: dict[str, list[ReplicaPoint]] = {replica_id: [] for replica_id in replica_ids}
    query = sa.select(ReplicaPoint).where(ReplicaPoint.replica_id.in_(list(replica_ids)))
    for point in session.scalars(query.order_by(ReplicaPoint.instant, ReplicaPoint.point_id)):
        found[point.replica_id].append(point)
    return found


def lock(replica_id: str) -> Lock:
    return Lock(f"{KIND}:{replica_id}")


def copied_disks(session: Session, machine: VirtualMachine) -> list[Disk]:
    """Raises NotReplicable."""
    attached = disks.of_machine(session, machine.id)
    apart = [disk.name for disk in attached if disk.mode != PERSISTENT]
    if apart:
        reason = (
            f"{', '.join(apart)} is of an independent mode, whose content stays out of every copy; make it persistent"
        )
        raise NotReplicable(machine.name, reason)
    found = [disk for disk in attached if disk.lifecycle == Lifecycle.ACTIVE]
    if not found:
        raise NotReplicable(machine.name, "it has no disk")
    for disk in found:
        if session.get_one(Lun, disk.lun_id).encrypted:
            raise NotReplicable(machine.name, f"{disk.name} lies on an encrypted volume, which is not replicated")
    return found


# ---------------------------------------------------------------------------------------------------------------- plans


def plan_create(
    session: Session,
    world: World,
    tenant_id: str,
    *,
    machine_id: str,
    cpool_id: str,
    lun_id: str,
    interval: int,
    keep: int,
) -> Plan:
    """Begin to replicate a machine: its first point is due at once.

    Raises AlreadyReplicated, SameZoneReplica, IntervalInvalid, NotReplicable, NotPropagated, VolumeRoom.
    """
    machine = machines.find(session, tenant_id, machine_id)
    check_ready("Machine", machine.name, machine.lifecycle)
    cpool, lun = cpools.find_ready(session, tenant_id, cpool_id), luns.find_open(session, tenant_id, lun_id)
    present = of_machine(session, machine_id)
    if present is not None:
        raise AlreadyReplicated(machine.name, present.id)
    rules.check_interval(interval, shortest=world.settings.shortest_replication)
    zone = session.get_one(Cpool, machine.cpool_id).zone
    for what, name, other in (("cpool", cpool.name, cpool.zone), ("volume", lun.name, lun.zone)):
        if other == zone:
            raise SameZoneReplica(machine.name, what, name, zone)
    if cpool.zone != lun.zone:
        raise NotReplicable(machine.name, f"cpool {cpool.name} is in {cpool.zone} and volume {lun.name} in {lun.zone}")
    if lun.encrypted:
        raise NotReplicable(machine.name, f"volume {lun.name} is encrypted, and points do not lie on such volumes")
    machines.check_size(world, cpool, machine.cpu, machine.memory)
    copied = copied_disks(session, machine)
    size = sum(disk.capacity for disk in copied)
    check_room(lun.name, f"a replica of {machine.name}", needed=size, free=luns.usage(world, lun.id).free)
    for adapter in adapters_of(session, machine.id):
        vlans.check_propagated(session, session.get_one(Vlan, adapter.vlan_id), cpool.id, cpool.name)
    replica = Replica(
        tenant_id=tenant_id,
        machine_id=machine.id,
        cpool_id=cpool.id,
        lun_id=lun.id,
        set_id=str(uuid.uuid4()),
        interval=interval,
        keep=keep,
        state=State.ACTIVE,
        due_at=datetime.now(UTC),
    )
    session.add(replica)
    session.flush()
    return Plan(
        kind="replica.note",
        description=f"Replicate machine {machine.name} to {cpool.name} every {rules.duration(interval)}",
        arguments={"replica_id": replica.id},
        locks=(lock(replica.id),),
        concerned=(Item(replica.id, KIND), machines.item(machine.id)),
        undo=(Undo("replica.forget", {"replica_id": replica.id}, "forgot the replica"),),
        type="ReplicationActivity",
    )


def plan_change(
    session: Session,
    world: World,
    tenant_id: str,
    replica_id: str,
    *,
    interval: int | None,
    keep: int | None,
    paused: bool | None,
) -> Plan:
    """Raises IntervalInvalid, WrongState for a pause after a failover."""
    replica = find(session, tenant_id, replica_id)
    name = machines.name_of(session, replica.machine_id)
    if interval is not None:
        rules.check_interval(interval, shortest=world.settings.shortest_replication)
        replica.interval = interval
        begun = replica.instant or replica.created_at
        replica.due_at = rules.next_due(begun, interval, datetime.now(UTC))
    if keep is not None:
        replica.keep = keep
    if paused is not None:
        check_not_failed_over(name, replica)
        replica.state = State.PAUSED if paused else State.ACTIVE
    return Plan(
        kind="replica.note",
        description=f"Change the replication of {name}",
        arguments={"replica_id": replica.id},
        concerned=(Item(replica.id, KIND),),
        type="ReplicationActivity",
    )


def check_not_failed_over(name: str, replica: Replica) -> None:
    if replica.state == State.FAILED_OVER:
        state = "runs at its other side, and nothing is copied back yet"
        raise WrongState("Machine", name, state, "reverse the replication (naos recovery replica reverse)")


def plan_replicate(session: Session, replica: Replica, *, asked: bool) -> Plan:
    """Take the next point. asked: by somebody, rather than by the rhythm."""
    machine = session.get(VirtualMachine, replica.machine_id)
    if machine is None:
        raise Unknown("virtual machine", replica.machine_id)
    check_not_failed_over(machine.name, replica)
    if not asked:
        replica.due_at = datetime.now(UTC) + timedelta(seconds=replica.interval)
    return Plan(
        kind="virtual_machine.replicate",
        description=f"Bring the replica of {machine.name} up to date",
        arguments={"replica_id": replica.id},
        locks=(lock(replica.id), *(disks.flatten_lock(disk.id) for disk in disks.of_machine(session, machine.id))),
        concerned=(Item(replica.id, KIND), machines.item(machine.id)),
        type="ReplicationActivity",
        preemptible=True,
    )


def plan_stop(session: Session, tenant_id: str, replica_id: str) -> Plan:
    """End a machine's replication and drop its points. Raises InRecoveryPlan."""
    replica = find(session, tenant_id, replica_id)
    name = machines.name_of(session, replica.machine_id)
    check_in_no_plan(session, replica.machine_id, name, "leans on its replica; take the machine out of the plan first")
    return Plan(
        kind="replica.stop",
        description=f"Stop the replication of {name}",
        arguments={"replica_id": replica.id},
        locks=(lock(replica.id),),
        concerned=(Item(replica.id, KIND),),
        type="ReplicationActivity",
    )


def check_in_no_plan(session: Session, machine_id: str, name: str, why: str) -> None:
    plan = session.scalar(
        sa.select(RecoveryPlan.name)
        .join(PlanMember, PlanMember.plan_id == RecoveryPlan.id)
        .where(PlanMember.machine_id == machine_id)
    )
    if plan is not None:
        raise InRecoveryPlan(name, plan, why)


def forget(session: Session, replica_id: str) -> None:
    session.execute(sa.delete(ReplicaPoint).where(ReplicaPoint.replica_id == replica_id))
    session.execute(sa.delete(Replica).where(Replica.id == replica_id))

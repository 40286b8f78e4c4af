"""After a failover: the machines are copied back to where they came from. The first copy is a whole one, the next are increments."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.lifecycle import Lifecycle
from naos.protection.recovery import remnants
from naos.protection.recovery.models import PlanMember, RecoveryPlan, Replica
from naos.protection.recovery.rules import State
from naos.protection.recovery.scopes import PLAN, Scope
from naos.protection.recovery.switching import addresses_of
from naos.protection.replication.models import LunReplication
from naos.storage.models import Disk, Lun
from naos.world import World


def check(world: World, scope: Scope) -> None:
    """Raises StillUnfenced."""
    with world.database.read() as session:
        remnants.check_fenced(session, [member.machine_id for member in scope.members])


def clear(world: World, scope: Scope) -> int:
    """A volume that is to be a replica again has room for the points only: what was left there goes. How many disks."""
    with world.database.read() as session:
        rows = failed_over(session, [member.machine_id for member in scope.members])
    return sum(remnants.remove_on(world, row.lun_id) for row in rows)


def failed_over(session: Session, machine_ids: Sequence[str]) -> list[LunReplication]:
    """The replications of volumes whose replicas these machines run on now."""
    mine = sa.select(Disk.lun_id).where(Disk.machine_id.in_(list(machine_ids)))
    query = sa.select(LunReplication).where(
        LunReplication.replica_id.in_(mine), LunReplication.lifecycle == State.FAILED_OVER
    )
    return list(session.scalars(query.order_by(LunReplication.id)))


def _turn_volumes(session: Session, machine_ids: Sequence[str]) -> None:
    for row in failed_over(session, machine_ids):
        source, replica = session.get_one(Lun, row.lun_id), session.get_one(Lun, row.replica_id)
        old, new = row.lun_id, row.replica_id
        row.lun_id = row.replica_id = row.id  # both are unique: neither may name the other's for a moment
        session.flush()
        row.lun_id, row.replica_id = new, old
        row.grown, row.shaped = source.capacity, source.storage_class
        source.lifecycle, replica.lifecycle = Lifecycle.REPLICA, Lifecycle.ACTIVE
        row.point_id = row.instant = row.running_id = row.running_since = None
        row.failure, row.failures, row.lifecycle = "", 0, Lifecycle.ACTIVE


def turn(world: World, scope: Scope, activity_id: str) -> None:
    """One transaction; repeated, it finds it done. Addresses and networks are turned round with the direction."""
    with world.database.write() as session:
        for member in scope.members:
            replica = session.scalar(sa.select(Replica).where(Replica.machine_id == member.machine_id))
            if replica is None or replica.state != State.FAILED_OVER or replica.home_lun_id is None:
                continue
            replica.lun_id, replica.cpool_id = replica.home_lun_id, str(replica.home_cpool_id)
            replica.home_lun_id = replica.home_cpool_id = None
            replica.set_id = str(uuid.uuid5(uuid.UUID(activity_id), replica.id))
            replica.state, replica.due_at = State.ACTIVE, datetime.now(UTC)
            replica.point_id = replica.instant = None
            replica.failure = ""
        _turn_volumes(session, [member.machine_id for member in scope.members])
        plan = session.get(RecoveryPlan, scope.subject_id) if scope.kind == PLAN else None
        if plan is None or plan.state != State.FAILED_OVER:
            return
        plan.home_cpool_id, plan.cpool_id = plan.cpool_id, plan.home_cpool_id
        plan.networks = {there: home for home, there in plan.networks.items()}
        plan.state = State.READY
        for row in session.scalars(sa.select(PlanMember).where(PlanMember.plan_id == plan.id)):
            machine = session.get(VirtualMachine, row.machine_id)
            if machine is not None:
                present = addresses_of(machine.seed)
                row.addresses, row.home_addresses = (
                    row.home_addresses,
                    {mac: present[mac] for mac in row.addresses if mac in present},
                )

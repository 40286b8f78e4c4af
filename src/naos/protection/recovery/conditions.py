"""What recovery has to say about machines: memory that is kept for plans, and nothing kept of a machine that is gone."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute import choosing, hooks, machines
from naos.compute.models import VirtualMachine
from naos.fleet.models import Cpool
from naos.fleet.rules import lent_memory
from naos.names import listing
from naos.protection.recovery import reports
from naos.protection.recovery.errors import ReservedForRecovery, VolumeKeepsCopies
from naos.protection.recovery.models import PlanMember, RecoveryPlan, Remnant, Replica
from naos.protection.recovery.rules import State
from naos.storage import luns
from naos.storage.models import Lun
from naos.units import size_text
from naos.world import World


def kept(session: Session, cpool_id: str) -> Mapping[str, int]:
    """Bytes that plans keep in a cpool, by the plan's name: those of machines that are not there."""
    query = (
        sa.select(RecoveryPlan.name, sa.func.sum(VirtualMachine.memory))
        .join(PlanMember, PlanMember.plan_id == RecoveryPlan.id)
        .join(VirtualMachine, VirtualMachine.id == PlanMember.machine_id)
        .where(
            RecoveryPlan.cpool_id == cpool_id,
            RecoveryPlan.reserve.is_(True),
            RecoveryPlan.state == State.READY,
            VirtualMachine.cpool_id != cpool_id,
        )
        .group_by(RecoveryPlan.name)
        .order_by(RecoveryPlan.name)
    )
    return {str(name): int(memory) for name, memory in session.execute(query)}


def may_start(session: Session, machine: VirtualMachine) -> None:
    """Raises ReservedForRecovery, but not for a machine that a plan brings there."""
    reserved = kept(session, machine.cpool_id)
    if not reserved or _is_recovering(session, machine.id):
        return
    cpool = session.get_one(Cpool, machine.cpool_id)
    enabled = lent_memory(cpool.memory, cpool.memory_overcommit)
    free = enabled - choosing.used(session, cpool.id) + machine.reserved
    if free - machine.memory < sum(reserved.values()):
        raise ReservedForRecovery(
            machine.name,
            cpool.name,
            size_text(machine.memory),
            size_text(max(free, 0)),
            size_text(sum(reserved.values())),
            ", ".join(reserved),
        )


def _is_recovering(session: Session, machine_id: str) -> bool:
    plan_id = session.scalar(sa.select(PlanMember.plan_id).where(PlanMember.machine_id == machine_id))
    return plan_id is not None and reports.open_of(session, plan_id) is not None


def forget(session: Session, machine_id: str) -> None:
    """What is kept of it elsewhere is removed by the leader (see `keeper`), for which the rows stay."""
    session.execute(sa.delete(PlanMember).where(PlanMember.machine_id == machine_id))


def guard(session: Session, world: World, lun: Lun, change: luns.Change) -> None:
    """What `luns.GUARDS` asks. Raises VolumeKeepsCopies for the end of a volume that points or left disks lie on."""
    del world
    if change.size is not None or change.storage_class is not None:
        return
    for what, table in (("replicas", Replica), ("disks that a failover left", Remnant)):
        ids = set(session.scalars(sa.select(table.machine_id).where(table.lun_id == lun.id)))
        if ids:
            named = listing(machines.name_of(session, machine_id) for machine_id in ids)
            raise VolumeKeepsCopies(lun.name, what, named)


def _register() -> None:
    if may_start in hooks.START_CONDITIONS:
        return
    luns.GUARDS.append(guard)
    hooks.START_CONDITIONS.append(may_start)
    hooks.FORGET_HOOKS.append(forget)


_register()

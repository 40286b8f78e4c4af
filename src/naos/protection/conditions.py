"""What protection has to say about machines: no start against the rules, and nothing kept of one that is gone."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute import hooks
from naos.compute.models import VirtualMachine
from naos.protection import policies, rules
from naos.protection.backup import forgetting, restores
from naos.protection.models import DiskChoice, DiskPolicy, KnownDisk, KnownMachine, MachinePolicy
from naos.storage import disks
from naos.tenancy.models import Tenant


def may_start(session: Session, machine: VirtualMachine) -> None:
    """Raises PolicyMissing, PolicyHeld. A machine that was restored for a test is under no rule."""
    if restores.is_test(session, machine.id):
        return
    tenant = session.get(Tenant, machine.tenant_id)
    if tenant is not None:
        present = policies.ruled(policies.of_machine(session, machine.id))
        rules.check_start(machine.name, tenant.name, snc=tenant.snc, policies=present)


def forget(session: Session, machine_id: str) -> None:
    """Drop the assignments of a machine and its disks, and what the inventory knew; a policy left alone is held."""
    own = sa.select(DiskChoice.disk_id).where(DiskChoice.machine_id == machine_id)
    lost = set(session.scalars(sa.select(MachinePolicy.policy_id).where(MachinePolicy.machine_id == machine_id)))
    lost |= set(session.scalars(sa.select(DiskPolicy.policy_id).where(DiskPolicy.disk_id.in_(own))))
    session.execute(sa.delete(DiskPolicy).where(DiskPolicy.disk_id.in_(own)))
    for table in (DiskChoice, MachinePolicy, KnownDisk, KnownMachine):
        session.execute(sa.delete(table).where(table.machine_id == machine_id))
    policies.hold_abandoned(session, lost)
    restores.machine_goes(session, machine_id)


def forget_disk(session: Session, disk_id: str) -> None:
    """Drop a disk's own set, and what the inventory knew of it; a policy left alone is held."""
    lost = set(session.scalars(sa.select(DiskPolicy.policy_id).where(DiskPolicy.disk_id == disk_id)))
    for table in (DiskPolicy, DiskChoice, KnownDisk):
        session.execute(sa.delete(table).where(table.disk_id == disk_id))
    policies.hold_abandoned(session, lost)


if forgetting.policy_goes not in policies.FORGET_HOOKS:
    policies.FORGET_HOOKS.append(forgetting.policy_goes)
if may_start not in hooks.START_CONDITIONS:
    hooks.START_CONDITIONS.append(may_start)
if forget not in hooks.FORGET_HOOKS:
    hooks.FORGET_HOOKS.append(forget)
if forget_disk not in disks.FORGET_HOOKS:
    disks.FORGET_HOOKS.append(forget_disk)

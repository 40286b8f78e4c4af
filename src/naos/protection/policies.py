"""Policies: finding, making, holding and deleting them."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan
from naos.compute.models import VirtualMachine
from naos.errors import NameTaken, Unknown
from naos.names import listing
from naos.protection import rules, sites
from naos.protection.errors import NoBackupFixed, PolicyInUse
from naos.protection.models import (
    NO_BACKUP,
    BackupJob,
    BackupPolicy,
    BackupRun,
    BackupSchedule,
    DiskChoice,
    DiskPolicy,
    MachinePolicy,
)
from naos.protection.rules import Policy, Schedule
from naos.storage.models import Disk
from naos.world import World

FORGET_HOOKS: list[Callable[[Session, BackupPolicy], None]] = []
"""What has more to say of policies appends to it: each refuses by raising, or removes its rows of a policy that is deleted."""


def find(session: Session, tenant_id: str, policy_id: str) -> BackupPolicy:
    """A policy of the tenant. Raises Unknown."""
    policy = session.get(BackupPolicy, policy_id)
    if policy is None or policy.tenant_id != tenant_id:
        raise Unknown("backup policy", policy_id)
    return policy


def lock(policy_id: str, *, shared: bool = False) -> Lock:
    return Lock(f"backup_policy:{policy_id}", shared=shared)


def ruled(policies: Iterable[BackupPolicy]) -> list[Policy]:
    """The rows as the rules look at them."""
    return [Policy(policy.name, policy.zone, policy.held) for policy in policies]


def of_machine(session: Session, machine_id: str) -> list[BackupPolicy]:
    """The policies of a machine, by name."""
    mine = sa.select(MachinePolicy.policy_id).where(MachinePolicy.machine_id == machine_id)
    return list(session.scalars(_ordered().where(BackupPolicy.id.in_(mine))))


def of_disk(session: Session, disk: Disk) -> list[BackupPolicy]:
    """The policies of a disk, by name: its own set, or else its machine's."""
    if session.get(DiskChoice, disk.id) is None:
        return of_machine(session, disk.machine_id) if disk.machine_id else []
    mine = sa.select(DiskPolicy.policy_id).where(DiskPolicy.disk_id == disk.id)
    return list(session.scalars(_ordered().where(BackupPolicy.id.in_(mine))))


def own_of_disk(session: Session, disk: Disk) -> list[BackupPolicy]:
    """The disk's own set, by name; empty too when it has none and inherits."""
    return of_disk(session, disk) if session.get(DiskChoice, disk.id) is not None else []


def of_tenant(session: Session, tenant_id: str) -> list[BackupPolicy]:
    return list(session.scalars(_ordered().where(BackupPolicy.tenant_id == tenant_id)))


def _ordered() -> sa.Select[BackupPolicy]:
    return sa.select(BackupPolicy).order_by(BackupPolicy.name, BackupPolicy.id)


def schedules_of(session: Session, policy_ids: Iterable[str]) -> Mapping[str, Sequence[BackupSchedule]]:
    """The schedules of some policies: one statement."""
    wanted = list(policy_ids)
    found: dict[str, list[BackupSchedule]] = {policy_id: [] for policy_id in wanted}
    query = sa.select(BackupSchedule).where(BackupSchedule.policy_id.in_(wanted)).order_by(BackupSchedule.position)
    for schedule in session.scalars(query):
        found[schedule.policy_id].append(schedule)
    return found


def members(session: Session, policy_id: str) -> list[str]:
    """Names of the machines that have the policy, and of the disks that have it as their own."""
    machines = (
        sa.select(VirtualMachine.name)
        .join(MachinePolicy, MachinePolicy.machine_id == VirtualMachine.id)
        .where(MachinePolicy.policy_id == policy_id)
    )
    disks = (
        sa.select(Disk.name, VirtualMachine.name)
        .join(DiskPolicy, DiskPolicy.disk_id == Disk.id)
        .outerjoin(VirtualMachine, VirtualMachine.id == Disk.machine_id)
        .where(DiskPolicy.policy_id == policy_id)
    )
    told = [f"{disk} of {machine or 'no machine'}" for disk, machine in session.execute(disks)]
    return [*session.scalars(machines), *told]


def hold_abandoned(session: Session, policy_ids: Iterable[str]) -> None:
    """A policy that has just lost its last member is held; `nobackup` never is."""
    session.flush()
    for policy_id in sorted(set(policy_ids)):
        left = [
            session.scalar(sa.select(table.policy_id).where(table.policy_id == policy_id).limit(1))
            for table in (MachinePolicy, DiskPolicy)
        ]
        if not any(left):
            session.execute(
                sa.update(BackupPolicy)
                .where(BackupPolicy.id == policy_id, BackupPolicy.zone.is_not(None))
                .values(held=True)
            )


# --------------------------------------------------------------------------------------------------------------- writes


def plan_create(
    session: Session, world: World, *, tenant_id: str, name: str, site: str, schedules: Sequence[Schedule]
) -> Plan:
    """A policy with its job. `site`: id or name. Raises SiteUnknown, ScheduleInvalid, SchedulesMissing, NameTaken."""
    if name == NO_BACKUP:
        raise NoBackupFixed("changed")
    zone = sites.find_site(session, world.inventory, site)
    rules.check_schedules(schedules)
    taken = sa.select(BackupPolicy.id).where(BackupPolicy.tenant_id == tenant_id, BackupPolicy.name == name)
    if session.scalar(taken):
        raise NameTaken("backup policy", name)
    policy = BackupPolicy(tenant_id=tenant_id, name=name, zone=zone.name)
    session.add(policy)
    session.flush()
    session.add(BackupJob(tenant_id=tenant_id, name=name, type="protection", policy_id=policy.id))
    session.add_all(
        BackupSchedule(
            policy_id=policy.id,
            position=position,
            trigger=schedule.trigger.value,
            frequency=schedule.frequency,
            retention=schedule.retention,
            activate_at=schedule.activate_at,
        )
        for position, schedule in enumerate(schedules)
    )
    return _plan("create", policy, f"Create backup policy {name}, stored in {zone.name}")


def plan_hold(session: Session, tenant_id: str, policy_id: str, *, held: bool) -> Plan:
    """Hold a policy, so that nothing runs or starts under it, or release it."""
    policy = find(session, tenant_id, policy_id)
    if policy.zone is None:
        raise NoBackupFixed("held" if held else "released")
    policy.held = held
    word = "hold" if held else "release"
    return _plan(word, policy, f"{word.capitalize()} backup policy {policy.name}")


def plan_delete(session: Session, tenant_id: str, policy_id: str) -> Plan:
    """Delete a policy that nothing has, its job and the job's runs. Raises PolicyInUse."""
    policy = find(session, tenant_id, policy_id)
    if policy.zone is None:
        raise NoBackupFixed("changed")
    has = members(session, policy_id)
    if has:
        raise PolicyInUse(policy.name, len(has), listing(has))
    plan = _plan("delete", policy, f"Delete backup policy {policy.name}")
    for hook in FORGET_HOOKS:
        hook(session, policy)
    jobs = sa.select(BackupJob.number).where(BackupJob.policy_id == policy_id)
    session.execute(sa.delete(BackupRun).where(BackupRun.job_number.in_(jobs)))
    session.execute(sa.delete(BackupJob).where(BackupJob.policy_id == policy_id))
    session.execute(sa.delete(BackupSchedule).where(BackupSchedule.policy_id == policy_id))
    session.delete(policy)
    return plan


def _plan(word: str, policy: BackupPolicy, description: str) -> Plan:
    """Only rows change, and they did with the check: the activity is their entry in the log."""
    return Plan(
        kind=f"backup_policy.{word}",
        description=description,
        arguments={"policy_id": policy.id},
        concerned=(Item(policy.id, "backup_policy"),),
        type="BackupActivity",
    )

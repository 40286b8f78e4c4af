"""What policies are assigned to. A given set replaces the one before; nothing is ever added to it by itself."""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Plan
from naos.compute import machines
from naos.compute.models import Power, VirtualMachine
from naos.errors import Unknown
from naos.fleet.models import Cpool
from naos.lifecycle import check_staying
from naos.protection import policies, rules
from naos.protection.models import BackupPolicy, DiskChoice, DiskPolicy, MachinePolicy
from naos.storage import disks
from naos.storage.models import Disk
from naos.tenancy.models import Tenant
from naos.world import World


def plan_machines(session: Session, tenant_id: str, machine_ids: Iterable[str], policy_ids: Iterable[str]) -> Plan:
    """Give each machine exactly these policies. Raises what `replace_of_machines` raises, and Unknown."""
    machine_ids, policy_ids = list(dict.fromkeys(machine_ids)), list(dict.fromkeys(policy_ids))
    wanted = [policies.find(session, tenant_id, policy_id) for policy_id in policy_ids]
    found = [machines.find(session, tenant_id, machine_id) for machine_id in machine_ids]
    for machine in found:
        check_staying("Machine", machine.name, machine.lifecycle)
        _check(session, machine, wanted)
    names = ", ".join(policy.name for policy in wanted) or "no backup policy"
    return Plan(
        kind="backup_policy.assign_machines",
        description=f"Assign {names} to {', '.join(machine.name for machine in found)}",
        arguments={"machine_ids": machine_ids, "policy_ids": policy_ids},
        locks=tuple(machines.lock(machine_id) for machine_id in machine_ids),
        concerned=tuple(machines.item(machine_id) for machine_id in machine_ids),
        type="BackupActivity",
    )


def plan_disk(session: Session, tenant_id: str, disk_id: str, policy_ids: Iterable[str] | None) -> Plan:
    """Give a disk a set of its own; None lets it inherit its machine's again."""
    policy_ids = None if policy_ids is None else list(dict.fromkeys(policy_ids))
    disk = disks.find(session, tenant_id, disk_id)
    check_staying("Disk", disk.name, disk.lifecycle)
    machine = machines.find(session, tenant_id, disk.machine_id) if disk.machine_id else None
    if machine is None:
        raise Unknown("disk on a machine", disk_id)
    wanted = [policies.find(session, tenant_id, policy_id) for policy_id in policy_ids or []]
    _check_disk(session, machine, disk, wanted)
    names = ", ".join(policy.name for policy in wanted) or "no backup policy"
    names = names if policy_ids is not None else "the machine's backup policies"
    return Plan(
        kind="backup_policy.assign_disk",
        description=f"Assign {names} to {disk.name} of {machine.name}",
        arguments={"disk_id": disk_id, "machine_id": machine.id, "policy_ids": policy_ids},
        locks=(machines.lock(machine.id),),
        concerned=(Item(disk_id, "virtual_disk"), machines.item(machine.id)),
        type="BackupActivity",
    )


def _check(session: Session, machine: VirtualMachine, wanted: Sequence[BackupPolicy]) -> None:
    """Raises SameZone, HeldUnassignable, LastPolicy."""
    tenant = session.get_one(Tenant, machine.tenant_id)
    present = {policy.id for policy in policies.of_machine(session, machine.id)}
    rules.check_zones(machine.name, _zone(session, machine), policies.ruled(wanted))
    rules.check_assignable(policies.ruled(policy for policy in wanted if policy.id not in present))
    rules.check_last(
        machine.name,
        tenant.name,
        snc=tenant.snc and bool(present),
        running=machine.power == Power.RUNNING,
        remaining=len(wanted),
    )


def _check_disk(session: Session, machine: VirtualMachine, disk: Disk, wanted: Sequence[BackupPolicy]) -> None:
    present = {policy.id for policy in policies.of_disk(session, disk)}
    rules.check_zones(machine.name, _zone(session, machine), policies.ruled(wanted))
    rules.check_assignable(policies.ruled(policy for policy in wanted if policy.id not in present))


def _zone(session: Session, machine: VirtualMachine) -> str:
    return session.get_one(Cpool, machine.cpool_id).zone


# ---------------------------------------------------------------------------------------------------------------- steps


def replace_of_machines(world: World, machine_ids: Sequence[str], policy_ids: Sequence[str]) -> None:
    """All of them or none, after another look at the rules: a machine may have started or a policy may be held since."""
    with world.database.write() as session:
        wanted = _present(session, policy_ids)
        lost: set[str] = set()
        for machine_id in machine_ids:
            machine = session.get(VirtualMachine, machine_id)
            if machine is None:
                raise Unknown("virtual machine", machine_id)
            _check(session, machine, wanted)
            lost |= _replace(session, machine_id, policy_ids)
        policies.hold_abandoned(session, lost)


def _replace(session: Session, machine_id: str, policy_ids: Sequence[str]) -> set[str]:
    """The policies that the machine had and has no longer."""
    present = set(session.scalars(sa.select(MachinePolicy.policy_id).where(MachinePolicy.machine_id == machine_id)))
    lost = present - set(policy_ids)
    session.execute(
        sa.delete(MachinePolicy).where(MachinePolicy.machine_id == machine_id, MachinePolicy.policy_id.in_(lost))
    )
    session.add_all(
        MachinePolicy(machine_id=machine_id, policy_id=policy_id)
        for policy_id in policy_ids
        if policy_id not in present
    )
    return lost


def replace_of_disk(world: World, disk_id: str, policy_ids: Sequence[str] | None) -> None:
    """A set that is the machine's stays the disk's own: clients read back what they gave."""
    with world.database.write() as session:
        disk = session.get(Disk, disk_id)
        machine = session.get(VirtualMachine, disk.machine_id) if disk is not None and disk.machine_id else None
        if disk is None or machine is None:
            raise Unknown("disk on a machine", disk_id)
        _check_disk(session, machine, disk, _present(session, policy_ids or []))
        own = set(session.scalars(sa.select(DiskPolicy.policy_id).where(DiskPolicy.disk_id == disk_id)))
        session.execute(sa.delete(DiskPolicy).where(DiskPolicy.disk_id == disk_id))
        session.execute(sa.delete(DiskChoice).where(DiskChoice.disk_id == disk_id))
        if policy_ids is not None:
            session.add(DiskChoice(disk_id=disk_id, machine_id=machine.id))
            session.flush()
            session.add_all(DiskPolicy(disk_id=disk_id, policy_id=policy_id) for policy_id in policy_ids)
        policies.hold_abandoned(session, own - set(policy_ids or []))


def _present(session: Session, policy_ids: Sequence[str]) -> list[BackupPolicy]:
    found = []
    for policy_id in policy_ids:
        policy = session.get(BackupPolicy, policy_id)
        if policy is None:
            raise Unknown("backup policy", policy_id)
        found.append(policy)
    return found

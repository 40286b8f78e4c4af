"""Whom a policy copies: machines that have it, and which of their disks."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.protection.models import DiskChoice, DiskPolicy, MachinePolicy
from naos.storage import disks
from naos.storage.models import Disk
from naos.storage.rules import NONPERSISTENT


def machines_of(session: Session, policy_id: str) -> list[VirtualMachine]:
    """Those that have the policy, or a disk that has it as its own, by name."""
    own = (
        sa.select(Disk.machine_id)
        .join(DiskPolicy, DiskPolicy.disk_id == Disk.id)
        .where(DiskPolicy.policy_id == policy_id)
    )
    mine = sa.select(MachinePolicy.machine_id).where(MachinePolicy.policy_id == policy_id)
    query = sa.select(VirtualMachine).where(sa.or_(VirtualMachine.id.in_(mine), VirtualMachine.id.in_(own)))
    return list(session.scalars(query.order_by(VirtualMachine.name, VirtualMachine.id)))


def disks_of(session: Session, machine_id: str, policy_id: str) -> tuple[list[Disk], list[str]]:
    """The machine's disks that the policy copies, and what is left out, in words.

    A disk with a set of its own is copied by what is in it, every other one by what its machine has.
    """
    inherits = session.get(MachinePolicy, (machine_id, policy_id)) is not None
    chosen: list[Disk] = []
    left_out: list[str] = []
    for disk in disks.of_machine(session, machine_id):
        own = session.get(DiskChoice, disk.id) is not None
        wanted = session.get(DiskPolicy, (disk.id, policy_id)) is not None if own else inherits
        if not wanted:
            left_out.append(f"{disk.name}: excluded")
        elif disk.mode == NONPERSISTENT:
            left_out.append(f"{disk.name}: what is written to it is dropped at power off")
        else:
            chosen.append(disk)
    return chosen, left_out


def covered(session: Session, tenant_id: str, policy_ids: Sequence[str]) -> set[str]:
    """Ids of the tenant's machines of which at least something has one of these policies."""
    own = (
        sa.select(Disk.machine_id)
        .join(DiskPolicy, DiskPolicy.disk_id == Disk.id)
        .where(Disk.tenant_id == tenant_id, DiskPolicy.policy_id.in_(policy_ids))
    )
    mine = sa.select(MachinePolicy.machine_id).where(MachinePolicy.policy_id.in_(policy_ids))
    return {str(found) for query in (own, mine) for found in session.scalars(query) if found is not None}

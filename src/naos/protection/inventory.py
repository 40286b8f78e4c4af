"""The inventory jobs: what they see becomes known to protection, and every run leaves its row."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.activity import Item, Lock, Plan, Undo
from naos.compute import machines
from naos.compute.models import VirtualMachine
from naos.engines.errors import EngineError
from naos.errors import Unknown
from naos.fleet.models import Cpool
from naos.lifecycle import Lifecycle
from naos.protection import rules, sites
from naos.protection.backup import runs
from naos.protection.models import (
    HYPERVISOR_INVENTORY,
    BackupJob,
    BackupPolicy,
    BackupRun,
    KnownDisk,
    KnownMachine,
)
from naos.protection.rules import RunStatus
from naos.storage.models import Disk, Lun
from naos.world import World

LARGEST_NUMBER = 2**63 - 1


@dataclass(frozen=True)
class Seen:
    """What a run looked at. `skipped`: machines on their way in or out."""

    total: int
    failed: int
    skipped: int = 0

    @property
    def success(self) -> int:
        return self.total - self.failed - self.skipped


def find_job(session: Session, tenant_id: str, number: str) -> BackupJob:
    """A job of the tenant by its number, as text. Raises Unknown, also for what is no number."""
    found = None
    if number.isascii() and number.isdecimal() and int(number) <= LARGEST_NUMBER:
        found = session.get(BackupJob, int(number))
    if found is None or found.tenant_id != tenant_id:
        raise Unknown("backup job", number)
    return found


def plan_run(session: Session, tenant_id: str, number: str, only: list[str] | None = None) -> Plan:
    """Run an inventory, or a policy's job (`only`: for these machines). Raises Unknown, and what `runs.plan_wanted` does."""
    job = find_job(session, tenant_id, number)
    for machine_id in only or ():
        machines.find(session, tenant_id, machine_id)
    if job.policy_id is not None:
        return runs.plan_wanted(session, tenant_id, session.get_one(BackupPolicy, job.policy_id), only)
    return Plan(
        kind="backup_job.inventory",
        description=f"Run {job.name}",
        arguments={"job": job.number, "tenant_id": tenant_id, "machines": job.name == HYPERVISOR_INVENTORY},
        locks=(Lock(f"backup_job:{job.number}"),),
        concerned=(Item(str(job.number), "backup_job"),),
        type="BackupActivity",
    )


def close_run(activity_id: str) -> Undo:
    return Undo("backup_run.fail", {"activity_id": activity_id}, "noted that the run failed")


# ---------------------------------------------------------------------------------------------------------------- steps


def open_run(world: World, job: int, tenant_id: str, activity_id: str) -> None:
    with world.database.write() as session:
        known = session.scalar(sa.select(BackupRun.number).where(BackupRun.activity_id == activity_id))
        if known is None:
            values = {"tenant_id": tenant_id, "job_number": job, "activity_id": activity_id}
            session.add(BackupRun(**values, status=RunStatus.RUNNING))


def end_run(world: World, activity_id: str, seen: Seen | None) -> None:
    """`seen` is None for a run that failed; one that has ended is left as it is."""
    status = RunStatus.FAILED if seen is None else rules.outcome(failed=seen.failed)
    counts = {} if seen is None else {name: getattr(seen, name) for name in ("total", "success", "failed", "skipped")}
    with world.database.write() as session:
        session.execute(
            sa.update(BackupRun)
            .where(BackupRun.activity_id == activity_id, BackupRun.ended_at.is_(None))
            .values(status=status, ended_at=datetime.now(UTC), **counts)
        )


def look_at_vaults(world: World) -> Seen:
    """Ask every vault's host for its space."""
    answered = [sites.measure(world, vault) for vault in world.inventory.vaults]
    return Seen(len(answered), answered.count(False))


def look_at_machines(world: World, tenant_id: str) -> Seen:
    """Read the tenant's machines and disks, ask their arrays which of the disks are really there, and keep what was seen.

    A disk whose array does not answer stays as known as it was; one that is not there is known no longer. Machines that
    went away since are forgotten.
    """
    with world.database.read() as session:
        machines = _machines(session, tenant_id)
        disks = _disks(session, tenant_id)
        volumes = {lun.id: lun for lun in session.scalars(sa.select(Lun).where(Lun.tenant_id == tenant_id))}
    there = {lun_id: _present(world, volumes[lun_id]) for lun_id in {disk.lun_id for disk in disks}}
    with world.database.write() as session:
        still = {machine.id for machine, _ in _machines(session, tenant_id)}
        kept = {disk.id for disk in _disks(session, tenant_id)}
        disks = [disk for disk in disks if disk.id in kept]
        missing = {disk.machine_id for disk in disks if disk.id not in (there[disk.lun_id] or ())}
        _keep_machines(session, tenant_id, [entry for entry in machines if entry[0].id in still])
        _keep_disks(session, tenant_id, disks, volumes, there)
    active = [machine for machine, _ in machines if machine.lifecycle == Lifecycle.ACTIVE and machine.id in still]
    failed = sum(machine.id in missing for machine in active)
    return Seen(len(machines), failed, len(machines) - len(active))


def _machines(session: Session, tenant_id: str) -> list[tuple[VirtualMachine, str]]:
    """The tenant's machines with their zones."""
    rows = session.execute(
        sa.select(VirtualMachine, Cpool.zone)
        .join(Cpool, Cpool.id == VirtualMachine.cpool_id)
        .where(VirtualMachine.tenant_id == tenant_id)
    )
    return [(machine, zone) for machine, zone in rows]


def _disks(session: Session, tenant_id: str) -> list[Disk]:
    query = sa.select(Disk).where(Disk.tenant_id == tenant_id, Disk.machine_id.is_not(None))
    return list(session.scalars(query.where(Disk.lifecycle == Lifecycle.ACTIVE)))


def _present(world: World, lun: Lun) -> frozenset[str] | None:
    """The disks that lie on a volume; None while its array does not answer."""
    try:
        return frozenset(world.rack.array(lun.array).contents(lun.id).disks)
    except EngineError:
        return None


def _keep_machines(session: Session, tenant_id: str, machines: Iterable[tuple[VirtualMachine, str]]) -> None:
    query = sa.select(KnownMachine).where(KnownMachine.tenant_id == tenant_id)
    known = {row.machine_id: row for row in session.scalars(query)}
    for machine, zone in machines:
        if machine.lifecycle == Lifecycle.CREATING:
            continue
        row = known.pop(machine.id, None)
        if row is None:
            row = KnownMachine(machine_id=machine.id, tenant_id=tenant_id)
            session.add(row)
        row.name, row.zone, row.seen_at = machine.name, zone, datetime.now(UTC)
    for gone in known.values():
        session.delete(gone)


def _keep_disks(
    session: Session,
    tenant_id: str,
    disks: Iterable[Disk],
    volumes: Mapping[str, Lun],
    there: Mapping[str, frozenset[str] | None],
) -> None:
    known = {row.disk_id: row for row in session.scalars(sa.select(KnownDisk).where(KnownDisk.tenant_id == tenant_id))}
    for disk in disks:
        lying = there[disk.lun_id]
        if lying is None:
            known.pop(disk.id, None)
        elif disk.id in lying:
            row = known.pop(disk.id, None)
            if row is None:
                row = KnownDisk(disk_id=disk.id, tenant_id=tenant_id)
                session.add(row)
            row.machine_id, row.name, row.unit, row.size = disk.machine_id or "", disk.name, disk.unit, disk.capacity
            row.volume_class, row.seen_at = volumes[disk.lun_id].storage_class, datetime.now(UTC)
    for gone in known.values():
        session.delete(gone)

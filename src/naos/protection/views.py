"""Rows of protection as clients see them; each function a fixed number of statements."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.errors import Unknown
from naos.fleet.models import Region, Zone
from naos.fleet.places import stable_id
from naos.fleet.wire import moref
from naos.inventory.model import Inventory
from naos.protection import policies, rules, sites
from naos.protection.backup import restores
from naos.protection.backup.models import BackupPlan, PolicyRun
from naos.protection.models import BackupJob, BackupPolicy, BackupRun, KnownDisk, KnownMachine, VaultSample
from naos.protection.rules import RunStatus
from naos.protection.wire import (
    BackupVCenter,
    BackupVirtualDisk,
    BackupVirtualMachine,
    Capacity,
    Job,
    JobSession,
    PolicyLink,
    Retention,
    SlaPolicy,
    SppServer,
    Statistics,
    StorageWire,
    SubPolicy,
    Target,
    TriggerWire,
    VolumeWire,
    milliseconds,
)
from naos.storage.models import Disk

ROOT = "/backup/v1/spp"
MOST_SESSIONS = 1000
"""The latest runs that a list shows."""


def number_of(identifier: str) -> int:
    """A whole number that stands for an id, always the same, where clients want one."""
    return uuid.UUID(identifier).int % 10**8


def jobs(session: Session, found: Sequence[BackupJob]) -> list[Job]:
    numbers = [job.number for job in found]
    running = set(
        session.scalars(
            sa.select(BackupRun.job_number).where(
                BackupRun.job_number.in_(numbers), BackupRun.status == RunStatus.RUNNING
            )
        )
    )
    held = set(
        session.scalars(
            sa.select(BackupJob.number)
            .join(BackupPolicy, BackupPolicy.id == BackupJob.policy_id)
            .where(BackupJob.number.in_(numbers), BackupPolicy.held.is_(True))
        )
    )
    active = restores.active_policies(session, [job.policy_id for job in found if job.policy_id is not None])
    plans = {
        number: (overruns, milliseconds(at))
        for number, overruns, at in session.execute(
            sa.select(BackupJob.number, BackupPlan.overruns, BackupPlan.overran_at)
            .join(BackupPlan, BackupPlan.policy_id == BackupJob.policy_id)
            .where(BackupJob.number.in_(numbers))
        )
        if at is not None
    }
    return [
        Job(
            id=str(job.number),
            name=job.name,
            display_name=job.name,
            type=job.type,
            status=rules.job_status(
                running=job.number in running, held=job.number in held, active=job.policy_id in active
            ),
            policy_id=job.policy_id or str(job.number),
            overruns=plans[job.number][0] if job.number in plans else 0,
            overran_at=plans[job.number][1] if job.number in plans else None,
        )
        for job in found
    ]


def sessions(session: Session, tenant_id: str) -> list[JobSession]:
    """The latest runs first."""
    rows = session.execute(
        sa.select(BackupRun, BackupJob, BackupPolicy, PolicyRun.overruns)
        .join(BackupJob, BackupJob.number == BackupRun.job_number)
        .outerjoin(BackupPolicy, BackupPolicy.id == BackupJob.policy_id)
        .outerjoin(PolicyRun, PolicyRun.run_number == BackupRun.number)
        .where(BackupRun.tenant_id == tenant_id)
        .order_by(BackupRun.number.desc())
        .limit(MOST_SESSIONS)
    )
    return [_session(run, job, policy, overruns or 0) for run, job, policy, overruns in rows]


def _session(run: BackupRun, job: BackupJob, policy: BackupPolicy | None, overruns: int) -> JobSession:
    start, end = milliseconds(run.started_at), milliseconds(run.ended_at or datetime.now(UTC))
    link = [PolicyLink(id=policy.id, name=policy.name, href=f"{ROOT}/policies/{policy.id}")] if policy else []
    return JobSession(
        id=str(run.number),
        job_name=job.name,
        sla_policy_type="REPLICATION" if policy is not None else "",
        job_id=str(job.number),
        type=job.type,
        duration=max(end - start, 0),
        start=start,
        end=end,
        status=run.status,
        statistics=Statistics(total=run.total, success=run.success, failed=run.failed, skipped=run.skipped),
        sla_policies=link,
        overruns=overruns,
    )


def shown_policies(session: Session, found: Iterable[BackupPolicy]) -> list[SlaPolicy]:
    found = list(found)
    schedules = policies.schedules_of(session, [policy.id for policy in found])
    zones = {zone.name: zone.id for zone in session.scalars(sa.select(Zone))}
    return [
        SlaPolicy(
            id=policy.id,
            name=policy.name,
            held=policy.held,
            sub_policies=[
                SubPolicy(
                    site=policy.zone or "",
                    retention=Retention(age=schedule.retention),
                    trigger=TriggerWire(
                        frequency=schedule.frequency,
                        type=schedule.trigger,
                        activate_date=milliseconds(schedule.activate_at),
                    ),
                    target=Target(id=zones.get(policy.zone or "", ""), href=f"{ROOT}/sites"),
                )
                for schedule in schedules[policy.id]
            ],
        )
        for policy in found
    ]


def servers(session: Session, inventory: Inventory) -> list[SppServer]:
    """One for each site."""
    return [
        SppServer(
            id=sites.server_id(zone),
            name=zone.name,
            address=sites.address_of(sites.vaults_of(inventory, zone.name)[0]),
        )
        for zone in sites.sites(session, inventory)
    ]


def storages(session: Session, inventory: Inventory, version: str) -> list[StorageWire]:
    """Every vault, with the space that its host named last; until it has answered once the numbers are 0."""
    zones = {zone.name: zone.id for zone in sites.sites(session, inventory)}
    samples = {sample.vault: sample for sample in session.scalars(sa.select(VaultSample))}
    found = []
    for vault in sorted(inventory.vaults, key=lambda vault: vault.name):
        sample = samples.get(vault.name)
        ready = sample is not None and sample.reachable
        identifier = stable_id(zones[vault.zone], f"vault {vault.name}")
        found.append(
            StorageWire(
                id=identifier,
                type="folder",
                site=vault.zone,
                name=vault.name,
                storage_id=identifier,
                host_address=sites.address_of(vault),
                port_number=22 if vault.access.driver == "ssh" else 0,
                initialize_status="Ready" if ready else "Unreachable" if sample is not None else "Unknown",
                version=version,
                is_ready=ready,
                capacity=Capacity(
                    free=sample.free if sample else 0,
                    total=sample.total if sample else 0,
                    update_time=milliseconds(sample.measured_at) if sample and sample.measured_at else 0,
                ),
            )
        )
    return found


def vcenters(session: Session, inventory: Inventory) -> list[BackupVCenter]:
    """Every region as each server knows it: any server can store what any region of the platform has."""
    regions = list(session.scalars(sa.select(Region).order_by(Region.name, Region.id)))
    return [
        BackupVCenter(
            id=region.id,
            internal_id=number_of(region.id),
            instance_id=region.id,
            spp_server_id=server.id,
            name=region.name,
        )
        for server in servers(session, inventory)
        for region in regions
    ]


def machine(session: Session, tenant_id: str, machine_id: str) -> BackupVirtualMachine:
    """A machine as the inventory saw it. Raises Unknown until it has."""
    known = session.scalar(
        sa.select(KnownMachine).where(KnownMachine.machine_id == machine_id, KnownMachine.tenant_id == tenant_id)
    )
    if known is None:
        raise Unknown("virtual machine known to the inventory", machine_id)
    disks = list(
        session.scalars(sa.select(KnownDisk).where(KnownDisk.machine_id == machine_id).order_by(KnownDisk.unit))
    )
    region = _region_of(session, known.zone)
    return BackupVirtualMachine(
        id=machine_id,
        name=known.name,
        moref=moref("vm-", machine_id),
        internal_id=str(known.number),
        internal_v_center_id=number_of(region),
        v_center_id=region,
        href=f"{ROOT}/virtual_machines/{machine_id}",
        metadata_path="",
        storage_profiles=sorted({disk.volume_class for disk in disks}),
        datacenter_name=known.zone,
        volumes=[VolumeWire(name=disk.name, key=str(disk.unit), size=disk.size) for disk in disks],
    )


def disk(session: Session, inventory: Inventory, tenant_id: str, disk_id: str) -> BackupVirtualDisk:
    """A disk as the inventory saw it. Raises Unknown until it has, and once the disk is gone."""
    known = session.scalar(
        sa.select(KnownDisk)
        .join(Disk, Disk.id == KnownDisk.disk_id)
        .where(KnownDisk.disk_id == disk_id, KnownDisk.tenant_id == tenant_id)
    )
    if known is None:
        raise Unknown("virtual disk known to the inventory", disk_id)
    zone = session.scalar(sa.select(KnownMachine.zone).where(KnownMachine.machine_id == known.machine_id))
    elsewhere = [sites.server_id(site) for site in sites.sites(session, inventory) if site.name != zone]
    return BackupVirtualDisk(
        id=disk_id,
        name=known.name,
        internal_id=str(known.number),
        instance_id=_region_of(session, zone or ""),
        spp_server_id=elsewhere[0] if elsewhere else "",
        virtual_machine_id=known.machine_id,
    )


def _region_of(session: Session, zone: str) -> str:
    query = sa.select(Region.id).join(Zone, Zone.region == Region.name).where(Zone.name == zone)
    found = session.scalar(query)
    if found is None:
        raise Unknown("zone", zone)
    return found
